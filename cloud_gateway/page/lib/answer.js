/** Hooks that ask: one answer, or a list in pages, both kept fresh by the live feed. */
import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { encoded, get } from "./api.js";
import { onChanged, onSettled, source } from "./live.js";
import { FEED, keyOf, keyOfValues } from "./rows.js";

const PAGE_ROWS = 50;
const ROWS_MAX = 1_000;
const REFRESH_MS = 3_000;
const FLASH_MS = 1_600;
const RETRY_MS = 5_000;

/** One answer. `kinds`: asked anew, at most every `every_ms`, when such rows change. A problem leaves the answer that
 * was there before. `path` "" asks nothing. -> {answer, problem, loading, reload} */
export function useAnswer(path, params = {}, { kinds = [], every_ms = REFRESH_MS } = {}) {
  const [state, setState] = useState({ answer: null, problem: null, loading: true });
  const asked = `${path}?${encoded(params)}`;
  const reload = useLatest(asked, path, params, setState);
  useEffect(() => {
    if (!path) return undefined;
    reload(true);
    return kinds.length ? onSettled(kinds, every_ms, reload) : undefined;
  }, [asked, kinds.join()]);
  useRetry(state.problem, reload);
  return { ...state, reload };
}

/** Asks, and drops the answers to questions that are no longer the newest. */
function useLatest(asked, path, params, setState) {
  const control = useRef(null);
  useEffect(() => () => control.current?.abort(), []);
  return useCallback(
    async (fresh = false) => {
      control.current?.abort();
      const own = (control.current = new AbortController());
      if (fresh === true) setState({ answer: null, problem: null, loading: true });
      try {
        const answer = await get(path, params, { signal: own.signal });
        if (own === control.current) setState({ answer, problem: null, loading: false });
      } catch (problem) {
        if (own === control.current && problem.name !== "AbortError") {
          setState((state) => ({ ...state, problem, loading: false }));
        }
      }
    },
    [asked],
  );
}

/** What the network refused is asked again; what the gateway refused is not. */
function useRetry(problem, reload) {
  const waits = problem && (problem.status === 0 || problem.status >= 500 || problem.status === 429);
  useEffect(() => {
    if (!waits) return undefined;
    const timer = setTimeout(reload, RETRY_MS);
    return () => clearTimeout(timer);
  }, [problem]);
}

const NOTHING = { rows: [], next: null, loading: true, problem: null, as_of: 0, flashed: new Map() };

/** A list in pages, changed in place by the live feed. -> {rows, next, full, loading, problem, as_of, flashed, more,
 * reload}; `flashed`: key -> until when; `full`: no more rows are kept, the filter must be narrowed. */
export function useList(kind, path, params = {}) {
  const [state, setState] = useState(NOTHING);
  const held = useRef(NOTHING);
  const put = (change) => setState((held.current = { ...held.current, ...change }));
  const asked = `${path}?${encoded(params)}`;
  const list = useMemo(() => new Pages(kind, path, params, held, put), [asked]);
  useEffect(() => {
    list.first(true);
    const feed = FEED[kind] ?? kind;
    const grouped = kind === "agents"; // the feed tells of their instances
    const apply = (change) => list.apply(change, feed);
    const off = grouped ? onSettled(feed, REFRESH_MS, () => list.refresh()) : onChanged(feed, apply);
    return () => {
      off();
      list.close();
    };
  }, [list]);
  useRetry(state.problem, () => list.first(false));
  return { ...state, full: state.rows.length >= ROWS_MAX, more: () => list.more(), reload: () => list.first(false) };
}

/** The pages of one question. */
class Pages {
  constructor(kind, path, params, held, put) {
    Object.assign(this, { kind, path, params, held, put, control: null, timer: 0, fresh: 0 });
  }

  /** Rows of the question before stay until those of a new one are here. */
  async first(loading) {
    await this.ask({}, loading, (answer) => ({ rows: answer.items, next: answer.next, as_of: answer.as_of }));
    this.fresh = Date.now();
  }

  async more() {
    const { next, rows, loading } = this.held.current;
    if (!next || loading || rows.length >= ROWS_MAX) return;
    await this.ask({ after: next }, true, (answer) => {
      const seen = new Set(rows.map((row) => keyOf(this.kind, row)));
      const added = answer.items.filter((row) => !seen.has(keyOf(this.kind, row)));
      return { rows: [...this.held.current.rows, ...added], next: answer.next };
    });
  }

  async ask(extra, loading, taken) {
    this.control?.abort();
    const own = (this.control = new AbortController());
    if (loading) this.put({ loading });
    try {
      const answer = await get(this.path, { limit: PAGE_ROWS, ...this.params, ...extra }, { signal: own.signal });
      if (own === this.control) this.put({ ...taken(answer), problem: null, loading: false });
    } catch (problem) {
      if (own === this.control && problem.name !== "AbortError") this.put({ problem, loading: false });
    }
  }

  /** Rows that are shown are replaced where they stand; whatever else changed may belong on the first page. */
  apply({ rows, gone, reset }, feed) {
    if (reset) return void this.first(false);
    const news = new Map((rows[feed] ?? []).map((row) => [keyOf(this.kind, row), row]));
    const lost = new Set((gone[feed] ?? []).map(keyOfValues));
    const until = Date.now() + FLASH_MS;
    const flashed = new Map([...this.held.current.flashed].filter(([, end]) => end > Date.now()));
    let touched = false;
    const kept = [];
    for (const row of this.held.current.rows) {
      const key = keyOf(this.kind, row);
      const newer = news.get(key);
      news.delete(key);
      if (newer && (newer.as_of_ms ?? 0) >= (row.as_of_ms ?? 0)) {
        kept.push(newer);
        flashed.set(key, until);
      } else if (!lost.has(key)) kept.push(row);
      touched ||= Boolean(newer) || lost.has(key);
    }
    if (touched) this.put({ rows: kept, flashed, as_of: source.value.as_of });
    if (news.size) this.refresh();
    return undefined;
  }

  /** The first page anew, seldom, and only while it is the only one. */
  refresh() {
    const alone = () => this.held.current.rows.length <= PAGE_ROWS && !this.held.current.loading;
    if (!alone() || this.timer) return;
    this.timer = setTimeout(() => {
      this.timer = 0;
      if (alone()) this.first(false);
    }, Math.max(100, this.fresh + REFRESH_MS - Date.now()));
  }

  close() {
    clearTimeout(this.timer);
    this.control?.abort();
    this.control = null;
  }
}
