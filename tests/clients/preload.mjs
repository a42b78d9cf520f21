// Loaded before every client test with `node --import`. The published clients have addresses built in that
// only exist on the internet; here, and only here, they lead to the box under test. It also keeps a record of
// what went over the wire, and lets nothing leave the machine.

import dns from "node:dns";

const base = new URL(process.env.RUN402_API_BASE);

/** Public chain endpoints -> the box's own JSON-RPC. */
const RPC = new Map([
  ["sepolia.base.org", "/rpc/v1/base-sepolia"],
  ["mainnet.base.org", "/rpc/v1/base"],
  ["rpc.moderato.tempo.xyz", "/rpc/v1/tempo-moderato"],
]);
const LOOPBACK = new Set(["localhost", "127.0.0.1", "[::1]"]);

/** Every exchange since the last `wire.clear()`: method, path, status, request and response headers. */
const exchanges = [];
globalThis.run402Wire = {
  exchanges,
  clear: () => exchanges.splice(0),
};

// Node resolves `*.localhost` through the system, which need not know it (RFC 6761 says it is loopback).
const lookup = dns.lookup;
dns.lookup = (host, options, callback) =>
  /(^|\.)localhost$/.test(host) ? lookup("127.0.0.1", options, callback) : lookup(host, options, callback);

const realFetch = globalThis.fetch;
globalThis.fetch = async (input, init) => {
  let request = new Request(input, init);
  let url = new URL(request.url);
  const rpc = RPC.get(url.hostname);
  if (rpc) {
    url = new URL(rpc, base);
    request = new Request(url, request);
  } else if (!LOOPBACK.has(url.hostname) && !url.hostname.endsWith(".localhost")) {
    throw new TypeError(`a test must not reach ${url.hostname}`);
  }
  const response = await realFetch(request);
  if (!rpc) {
    exchanges.push({
      method: request.method,
      path: url.pathname + url.search,
      status: response.status,
      request: request.headers,
      response: response.headers,
    });
  }
  return response;
};
