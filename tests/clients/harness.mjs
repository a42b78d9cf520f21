// What the suites share: a fresh configuration directory with a fresh wallet, and the box's admin.

import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run402 } from "@run402/sdk/node";
import { createPublicClient, http, parseAbi } from "viem";
import { base, baseSepolia } from "viem/chains";

export const API = process.env.RUN402_API_BASE;
export const wire = globalThis.run402Wire;
export const TESTNET_USDC = "0x036CbD53842c5426634e7929541eC2318f3dCF7e";
export const MAINNET_USDC = "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913";

/** Points the client libraries at an empty configuration directory of their own. */
export async function freshConfig() {
  process.env.RUN402_CONFIG_DIR = await mkdtemp(join(tmpdir(), "r402-client-"));
  delete process.env.RUN402_ALLOWANCE_PATH;
  delete process.env.RUN402_WALLET;
  delete process.env.RUN402_PROFILE;
}

/** A client with a new wallet. A client reads its balance once, at its first request: hence the fresh ones. */
export async function newcomer({ funded = true } = {}) {
  await freshConfig();
  const { address } = await run402().allowance.create();
  if (funded) await run402().allowance.faucet();
  return { r: run402(), address };
}

/** A client that has bought the prototype tier. */
export async function subscriber() {
  const { r, address } = await newcomer();
  await r.tier.set("prototype");
  return { r, address };
}

/** Token balance as any wallet program reads it. */
export async function balance(address, chain = baseSepolia) {
  const client = createPublicClient({ chain, transport: http() });
  return client.readContract({
    address: chain === base ? MAINNET_USDC : TESTNET_USDC,
    abi: parseAbi(["function balanceOf(address) view returns (uint256)"]),
    functionName: "balanceOf",
    args: [address],
  });
}

/** What only the owner of the box can do. */
export async function admin(path, body) {
  const response = await fetch(API + path, {
    method: "POST",
    headers: { "content-type": "application/json", "x-admin-key": process.env.RUN402_TEST_ADMIN_KEY },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  return response.json();
}

/** The error a promise fails with. */
export async function failure(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("it did not fail");
}

/** A subdomain nobody has, and the origin at which a browser finds it. */
export function siteOrigin(prefix) {
  const name = `${prefix}-${Math.random().toString(36).slice(2, 10)}`;
  const { protocol, port } = new URL(API);
  return { name, origin: `${protocol}//${name}.localhost:${port}` };
}
