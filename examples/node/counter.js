#!/usr/bin/env node
// An agent in Node.js, without packages and without the SDK: calls, a stream, state, events.
//
//   meshnode run examples/node/counter.js
//   meshnode call js.primes below=30 --stream      # items leave as fast as they are read
//   meshnode call js.add by=2                       # kept before the answer leaves
//   meshnode call js.count text="a b c"             # it asks words.count, wherever that runs
'use strict';
const http = require('node:http');

const { MESHNODE_API: socketPath, MESHNODE_INSTANCE: instance, MESHNODE_TICKET: ticket } = process.env;
let token = '';
let total = 0;

function request(path, body) {
  return new Promise((resolve, reject) => {
    const asked = http.request({ socketPath, path, method: 'POST', headers: { 'content-type': 'application/json' } });
    asked.on('error', reject);
    asked.on('response', resolve);
    asked.end(JSON.stringify(body));
  });
}

async function say(verb, body) {
  const answer = await request(`/v1/bus/${token}/${verb}`, body);
  let text = '';
  for await (const chunk of answer.setEncoding('utf8')) text += chunk;
  const said = JSON.parse(text);
  if (answer.statusCode !== 200) throw Object.assign(new Error(said.error.message), { code: said.error.code });
  return said;
}

const skills = {
  'js.primes': async ({ below }, call) => {
    const found = [];
    for (let n = 2; n < below; n++) {
      if (found.some((p) => n % p === 0)) continue;
      found.push(n);
      if (call.stream) await say('item', { call_id: call.call_id, item: n }); // waits for its reader
    }
    return { result: call.stream ? null : found };
  },
  'js.add': async ({ by }) => {
    total += by;
    await say('publish', { topic: 'topic/example/total', data: total });
    return { result: total, set: { total } };
  },
  'js.count': async (asked) => say('call', { skill: 'words.count', arguments: asked }),
};

async function called(call) {
  try {
    await say('answer', { call_id: call.call_id, ...(await skills[call.skill](call.arguments, call)) });
  } catch (error) {
    console.error(`${call.skill}: ${error.message}`);
    await say('fail', { call_id: call.call_id, code: 'failed', message: error.message }).catch(() => {});
  }
}

async function heard(event, data) {
  if (event === 'registered') token = data.token;
  else if (event === 'restored') await restored();
  else if (event === 'call') called(data); // beside the next one
  else if (event === 'event') await say('publish', { topic: 'topic/example/echo', data });
  else if (event === 'stop') process.exit(0);
  else if (event === 'refused') throw new Error(data.message);
}

function restored() {
  return new Promise((resolve, reject) => {
    http.get({ socketPath, path: `/v1/bus/${token}/state` }, async (answer) => {
      let text = '';
      for await (const chunk of answer.setEncoding('utf8')) text += chunk;
      total = JSON.parse(text).total ?? 0;
      resolve();
    }).on('error', reject);
  });
}

async function main() {
  const number = { type: 'object', properties: { by: { type: 'number' } }, required: ['by'] };
  const stream = await request('/v1/bus', {
    instance, ticket, topics: ['topic/example/say'],
    skills: [
      { name: 'js.primes', description: 'All primes below a number.', streams: true, idempotent: true },
      { name: 'js.add', description: 'Add to a total that is kept.', input_schema: number },
      { name: 'js.count', description: 'Count words by asking another agent.' },
    ],
  });
  let rest = '';
  let event = '';
  for await (const chunk of stream.setEncoding('utf8')) {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith('event: ')) event = line.slice(7);
      else if (line.startsWith('data: ')) await heard(event, JSON.parse(line.slice(6)));
    }
  }
  throw new Error('the daemon is gone');
}

main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
