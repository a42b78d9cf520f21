// Assets through the SDK: written by applies, read, listed, signed and removed through storage.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { get as httpGet } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { deflateSync } from "node:zlib";
import { before, test } from "node:test";
import { API, failure, subscriber } from "./harness.mjs";

let r, id, project;

before(async () => {
  ({ r } = await subscriber());
  project = await r.projects.provision({ name: "assets" });
  id = project.project_id;
});

const hex = (bytes) => createHash("sha256").update(bytes).digest("hex");

/** GET of a tenant URL: the name goes into Host, the connection to the box. */
function visit(url) {
  const { host, pathname, search } = new URL(url);
  const { hostname, port } = new URL(API);
  return new Promise((resolve, reject) => {
    httpGet({ hostname, port, path: pathname + search, headers: { host } }, (response) => {
      const chunks = [];
      response.on("data", (chunk) => chunks.push(chunk));
      response.on("end", () => resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks) }));
    }).on("error", reject);
  });
}

/** A grey PNG, made by hand. */
function png(width, height) {
  const crc = (bytes) => {
    let c = ~0;
    for (const byte of bytes) {
      c ^= byte;
      for (let k = 0; k < 8; k += 1) c = c & 1 ? (c >>> 1) ^ 0xedb88320 : c >>> 1;
    }
    return ~c >>> 0;
  };
  const chunk = (type, data) => {
    const body = Buffer.concat([Buffer.from(type), data]);
    const out = Buffer.alloc(body.length + 8);
    out.writeUInt32BE(data.length, 0);
    body.copy(out, 4);
    out.writeUInt32BE(crc(body), body.length + 4);
    return out;
  };
  const head = Buffer.alloc(13);
  head.writeUInt32BE(width, 0);
  head.writeUInt32BE(height, 4);
  head.writeUInt8(8, 8);
  const rows = Buffer.alloc((width + 1) * height);
  for (let y = 0; y < height; y += 1) for (let x = 0; x < width; x += 1) rows[y * (width + 1) + 1 + x] = (x ^ y) & 255;
  return Buffer.concat([
    Buffer.from("89504e470d0a1a0a", "hex"),
    chunk("IHDR", head),
    chunk("IDAT", deflateSync(rows)),
    chunk("IEND", Buffer.alloc(0)),
  ]);
}

test("put answers URLs that work, and tags that browsers may use", async () => {
  const asset = await r.assets.put(id, "app.js", "console.log(1)");
  const digest = hex("console.log(1)");
  assert.equal(asset.contentSha256, digest);
  assert.match(asset.cdnUrl, new RegExp(`^http://pr-[a-z0-9]+\\.localhost:\\d+/_blob/app-${digest.slice(0, 8)}\\.js$`));
  assert.equal(asset.sri, `sha256-${createHash("sha256").update("console.log(1)").digest("base64")}`);
  assert.equal(asset.cacheKind, "immutable");
  assert.ok(asset.scriptTag().includes(asset.cdnUrl) && asset.scriptTag().includes("integrity"));
  const served = await visit(asset.cdnUrl);
  assert.deepEqual([served.status, served.body.toString()], [200, "console.log(1)"]);
  assert.equal(served.headers["access-control-allow-origin"], "*");
  assert.match(served.headers["cache-control"], /immutable/);
  assert.equal(served.headers["x-run402-blob-cache-kind"], "immutable");
  const other = await r.projects.provision({ name: "other" });
  const elsewhere = await r.assets.put(other.project_id, "other.js", "other");
  assert.equal((await visit(new URL(new URL(asset.cdnUrl).pathname, elsewhere.cdnUrl))).status, 404, "another project");
  const fresh = await r.assets.waitFresh(id, { url: asset.cdnMutableUrl, sha256: digest, timeoutMs: 5000 });
  assert.deepEqual([fresh.fresh, fresh.attempts], [true, 1]);
});

test("overwriting serves new bytes at once and keeps the old immutable URL", async () => {
  const first = await r.assets.put(id, "v.txt", "one");
  const second = await r.assets.put(id, "v.txt", "two");
  assert.equal((await visit(first.cdnUrl)).body.toString(), "one");
  assert.equal((await visit(second.cdnUrl)).body.toString(), "two");
  assert.equal((await visit(second.cdnMutableUrl)).body.toString(), "two");
  await r.assets.rm(id, "v.txt");
  assert.equal((await visit(second.cdnMutableUrl)).status, 404);
  assert.deepEqual([(await visit(first.cdnUrl)).status, (await visit(second.cdnUrl)).status], [200, 200]);
  const error = await failure(r.assets.rm(id, "v.txt"));
  assert.equal(error.status, 404);
});

test("private assets are read with the key or a signature", async () => {
  const asset = await r.assets.put(id, "secret.txt", "hidden", { visibility: "private" });
  assert.deepEqual([asset.cdnUrl, asset.cacheKind], [null, "private"]);
  assert.equal(await (await r.assets.get(id, "secret.txt")).text(), "hidden");
  const { signed_url: url } = await r.assets.sign(id, "secret.txt", { ttl_seconds: 60 });
  assert.equal((await visit(url)).body.toString(), "hidden");
  assert.equal((await visit(url.replace(/signature=./, (found) => found.slice(0, -1) + (found.endsWith("A") ? "B" : "A")))).status, 403);
  assert.equal((await visit(url.split("?")[0])).status, 404);
});

test("putMany, metadata and the listing", async () => {
  const made = await r.assets.putMany(
    ["a", "b", "c"].map((name) => ({ key: `many/${name}.txt`, source: name, metadata: { tag: name } })),
    { project: id },
  );
  assert.deepEqual(made.list.map(({ key }) => key).sort(), ["many/a.txt", "many/b.txt", "many/c.txt"]);
  const page = await r.assets.ls(id, { prefix: "many/", limit: 2 });
  assert.deepEqual(page.blobs.map(({ key }) => key), ["many/a.txt", "many/b.txt"]);
  const rest = await r.assets.ls(id, { prefix: "many/", limit: 2, cursor: page.next_cursor });
  assert.deepEqual([rest.blobs.map(({ key }) => key), rest.next_cursor], [["many/c.txt"], null]);
  const tagged = await r.assets.ls(id, { filter: { tag: "b" } });
  assert.deepEqual(tagged.blobs.map(({ key, metadata }) => [key, metadata]), [["many/b.txt", { tag: "b" }]]);
});

test("an image has its variants when put returns", async () => {
  const bytes = png(640, 480);
  const asset = await r.assets.put(id, "img/p.png", { bytes });
  assert.deepEqual([asset.width_px ?? asset.widthPx, asset.height_px ?? asset.heightPx], [640, 480]);
  const variants = asset.variants;
  assert.deepEqual(Object.keys(variants).sort(), ["large", "medium", "thumb"]);
  const thumb = await visit(variants.thumb.cdn_url ?? variants.thumb.cdnUrl);
  assert.deepEqual([thumb.status, thumb.headers["content-type"]], [200, "image/webp"]);
  // A function's put of the same bytes makes the same variants (both write paths are one).
  const response = await fetch(`${API}/apply/v1/service-asset-put`, {
    method: "POST",
    headers: {
      authorization: `Bearer ${project.service_key}`,
      "content-type": "image/png",
      "x-run402-asset-key": "p.png",
    },
    body: bytes,
  });
  const put = await response.json();
  const digests = (found) => Object.entries(found).map(([kind, { sha256 }]) => [kind, sha256]).sort();
  assert.deepEqual(digests(put.variants), digests(variants));
  assert.equal(put.blurhash, asset.blurhash);
  await r.assets.rm(id, "p.png");
  const images = await r.assets.ls(id, { filter: { is_image: true } });
  assert.deepEqual(images.blobs.map(({ key, image_format }) => [key, image_format]), [["img/p.png", "png"]]);
  const error = await failure(r.assets.put(id, "img/bad.png", "no image"));
  assert.match(JSON.stringify([error.code, error.body, error.message]), /IMAGE_DECODE_FAILED/);
  assert.equal((await failure(r.assets.get(id, "img/bad.png"))).status, 404);
});

test("a prune in an apply is refused until what it deletes was confirmed", async () => {
  const { apply } = await r.project(id);
  await r.assets.putMany(["a", "b"].map((name) => ({ key: `sync/${name}.txt`, source: name })), { project: id });
  const spec = (confirm) => ({
    assets: { put: [{ key: "sync/a.txt", source: "a" }], sync: { prefix: "sync/", prune: true, ...(confirm && { confirm }) } },
  });
  const names = async () => (await r.assets.ls(id, { prefix: "sync/" })).blobs.map(({ key }) => key);
  const refused = await failure(apply(spec()));
  assert.equal(refused.code, "PRUNE_CONFIRMATION_REQUIRED");
  const { base_revision, delete_set_digest, expected_delete_count, sample_keys } = refused.body.details;
  assert.deepEqual([expected_delete_count, sample_keys], [1, ["sync/b.txt"]]);
  const confirm = { base_revision, delete_set_digest, expected_delete_count };
  await r.assets.put(id, "sync/c.txt", "c");
  assert.equal((await failure(apply(spec(confirm)))).code, "ASSET_SYNC_DRIFT");
  assert.deepEqual(await names(), ["sync/a.txt", "sync/b.txt", "sync/c.txt"], "nothing was deleted");
  const { plan } = await apply.plan(spec(), { dryRun: true });
  const { prefix, prune, sample_keys: sample, over_inline_threshold, ...now } = plan.asset_sync;
  await apply(spec(now));
  assert.deepEqual(await names(), ["sync/a.txt"]);
});

test("directories are uploaded, and pruned only when that was confirmed", async () => {
  const dir = await mkdtemp(join(tmpdir(), "r402-assets-"));
  await writeFile(join(dir, "one.txt"), "1");
  await writeFile(join(dir, "two.txt"), "2");
  const made = await r.assets.uploadDir(dir, { project: id, prefix: "dir/" });
  assert.deepEqual(made.list.map(({ key }) => key).sort(), ["dir/one.txt", "dir/two.txt"]);
  await rm(join(dir, "two.txt"));
  const refused = await failure(r.assets.syncDir(dir, { project: id, prefix: "dir/", prune: true }));
  assert.equal(refused.code, "PRUNE_CONFIRMATION_REQUIRED");
  assert.deepEqual([refused.expected_delete_count, refused.sample_keys], [1, ["dir/two.txt"]]);
  const { base_revision, delete_set_digest, expected_delete_count } = refused;
  const confirm = { base_revision, delete_set_digest, expected_delete_count };
  await r.assets.put(id, "dir/three.txt", "3");
  const drift = await failure(r.assets.syncDir(dir, { project: id, prefix: "dir/", prune: true, confirm }));
  assert.match(JSON.stringify([drift.code, drift.body, drift.message]), /ASSET_SYNC_DRIFT/);
  const names = async () => (await r.assets.ls(id, { prefix: "dir/" })).blobs.map(({ key }) => key);
  assert.deepEqual(await names(), ["dir/one.txt", "dir/three.txt", "dir/two.txt"], "nothing was deleted");
  const again = await failure(r.assets.syncDir(dir, { project: id, prefix: "dir/", prune: true }));
  await r.assets.syncDir(dir, {
    project: id,
    prefix: "dir/",
    prune: true,
    confirm: {
      base_revision: again.base_revision,
      delete_set_digest: again.delete_set_digest,
      expected_delete_count: again.expected_delete_count,
    },
  });
  assert.deepEqual(await names(), ["dir/one.txt"]);
  const prepared = await r.assets.prepareDir(dir, { project: id, prefix: "dir/" });
  assert.ok(prepared.manifest.byKey["dir/one.txt"].cdn_immutable_url.includes("/_blob/dir/one-"));
  await rm(dir, { recursive: true });
});
