// Sends JSON-RPC calls meant for the public test chains to a run402 box with a simulated chain.
//
//   curl -o shim.mjs <box>/rpc/v1/shim.mjs
//   NODE_OPTIONS="--import ./shim.mjs" run402 status
//
// The box is RUN402_API_BASE when that is set, else the one this file came from.

const chains = __CHAINS__;
const base = (globalThis.process?.env?.RUN402_API_BASE || __BASE__).replace(/\/+$/, "");
const realFetch = globalThis.fetch;

function boxUrl(url) {
  if (!URL.canParse(url)) return undefined;
  const { protocol, hostname } = new URL(url);
  if (protocol !== "https:" && protocol !== "http:") return undefined;
  return Object.hasOwn(chains, hostname) ? `${base}/rpc/v1/${chains[hostname]}` : undefined;
}

globalThis.fetch = function fetch(input, init) {
  const isRequest = typeof Request === "function" && input instanceof Request;
  const target = boxUrl(isRequest ? input.url : String(input));
  if (target === undefined) return realFetch(input, init);
  return realFetch(isRequest ? new Request(target, input) : target, init);
};
