"""NVIDIA's management library, asked metric by metric: the adapter of the untyped ``pynvml``.

A library that loads is not a library that knows: on a Jetson it names the GPU and refuses everything else, on machines
with unified memory it refuses memory, under MIG the whole card refuses its use. So every call may fail alone, and
nonsense (a memory of 0 bytes) counts as not known.
"""

from dataclasses import dataclass

from hw.root import as_label

DEVICES_MAX = 64
# Why clocks are held down (nvml.h, nvmlClocksEventReasons): slowdown by hardware, by heat (software, hardware), by the
# power brake. A power cap is left out: large cards live at it, and nothing is wrong.
_THROTTLED_MASK = 0x8 | 0x20 | 0x40 | 0x80


@dataclass(frozen=True, kw_only=True)
class Card:
    """What one device, or one MIG instance of it, is."""

    index: int
    name: str | None = None
    uuid: str | None = None
    memory_bytes: int | None = None
    capability: str | None = None


@dataclass(frozen=True, kw_only=True)
class Use:
    """How busy all cards are together: the mean of their use, the share of their memory, the hottest of them."""

    percent: float | None = None
    memory_percent: float | None = None
    celsius: float | None = None
    throttled: bool = False


class Nvml:
    """``library`` is the module ``pynvml`` or whatever answers like it."""

    def __init__(self, library: object) -> None:
        self._library = library
        refusal = getattr(library, "NVMLError", OSError)
        # Old libraries lack functions, sick ones return what does not decode or has other fields.
        self._refusals: tuple[type[Exception], ...] = (refusal, AttributeError, OSError, TypeError, ValueError)
        self._ready = False

    @classmethod
    def load(cls) -> "Nvml | None":
        """With the extra ``nvidia`` installed; nothing is asked of the driver yet."""
        try:
            import pynvml
        except ImportError:
            return None
        return cls(pynvml)

    def driver(self) -> str | None:
        return as_label(_text(self._ask("nvmlSystemGetDriverVersion")))

    def cards(self) -> list[Card]:
        """Every device; one divided by MIG shows as its instances. Empty also without a driver."""
        found: list[Card] = []
        for index, handle in enumerate(self._handles()):
            instances = self._instances(handle)
            found += [self._card(index, one) for one in instances] or [self._card(index, handle)]
        return found[:DEVICES_MAX]

    def use(self) -> Use:
        handles = self._handles()
        rates = [self._number("nvmlDeviceGetUtilizationRates", one, "gpu") for one in handles]
        known = [rate for rate in rates if rate is not None and 0 <= rate <= 100]
        memories = [self._memory(one) for one in handles]
        total = sum(memory[1] for memory in memories if memory)
        heats = [self._number("nvmlDeviceGetTemperature", one, None, 0) for one in handles]
        reasons = [self._number("nvmlDeviceGetCurrentClocksEventReasons", one, None) for one in handles]
        return Use(
            percent=sum(known) / len(known) if known else None,
            memory_percent=100.0 * sum(memory[0] for memory in memories if memory) / total if total else None,
            celsius=max((heat for heat in heats if heat is not None and 0 < heat < 150), default=None),
            throttled=any(int(reason) & _THROTTLED_MASK for reason in reasons if reason is not None),
        )

    def _card(self, index: int, handle: object) -> Card:
        memory = self._memory(handle)
        capability = _numbers(self._ask("nvmlDeviceGetCudaComputeCapability", handle))
        return Card(
            index=index,
            name=as_label(_text(self._ask("nvmlDeviceGetName", handle))),
            uuid=as_label(_text(self._ask("nvmlDeviceGetUUID", handle))),
            memory_bytes=memory[1] if memory else None,
            capability=".".join(map(str, capability)) or None,
        )

    def _memory(self, handle: object) -> tuple[int, int] | None:
        """Used and total bytes; together or not at all."""
        info = self._ask("nvmlDeviceGetMemoryInfo", handle)
        used, total = _field(info, "used"), _field(info, "total")
        return (int(used), int(total)) if used is not None and total is not None and 0 <= used <= total > 0 else None

    def _instances(self, handle: object) -> list[object]:
        if _numbers(self._ask("nvmlDeviceGetMigMode", handle))[:1] != (1,):
            return []
        count = self._number("nvmlDeviceGetMaxMigDeviceCount", handle, None) or 0
        places = range(min(int(count), DEVICES_MAX))
        found = [self._ask("nvmlDeviceGetMigDeviceHandleByIndex", handle, place) for place in places]
        return [one for one in found if one is not None]

    def _handles(self) -> list[object]:
        """Init may fail now and succeed later (a driver that loads late), so it is tried until it did."""
        if not self._ready:
            self._ready = self._begins()
        if not self._ready:
            return []
        count = self._number("nvmlDeviceGetCount", None, None) or 0
        found = [self._ask("nvmlDeviceGetHandleByIndex", index) for index in range(min(int(count), DEVICES_MAX))]
        return [one for one in found if one is not None]

    def _number(self, name: str, handle: object, attribute: str | None, *more: int) -> float | None:
        answer = self._ask(name, *(() if handle is None else (handle,)), *more)
        return _field(answer, attribute) if attribute else _as_number(answer)

    def _ask(self, name: str, *args: object) -> object:
        try:
            return getattr(self._library, name)(*args)
        except self._refusals:
            return None

    def _begins(self) -> bool:
        try:
            getattr(self._library, "nvmlInit")()  # noqa: B009 # an untyped library, as everywhere here
        except self._refusals:
            return False
        return True


def _field(answer: object, name: str) -> float | None:
    return _as_number(getattr(answer, name, None))


def _as_number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _numbers(answer: object) -> tuple[int, ...]:
    """A pair as NVML returns it: (major, minor), (now, after the next reset)."""
    if not isinstance(answer, (tuple, list)):
        return ()
    return tuple(item for item in answer if isinstance(item, int))  # pyright: ignore[reportUnknownVariableType] # pynvml


def _text(value: object) -> str | None:
    """Older versions of the library answer in bytes."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else None
