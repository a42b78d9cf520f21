/*
 * The guest's C side: QuickJS-NG in a WebAssembly reactor, and the few doors between the host, the engine and the
 * prelude. The host side is src/engines/sandbox/abi.rs.
 *
 * Life of an instance: `initialize` ran once, at build time, and its memory became the snapshot. At deploy time the
 * host calls `add_module` for each file and `link` for the entry; nothing of the user's runs. At run time it calls
 * `seed`, `start` (top level of the modules) and then `handle` once a request.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "quickjs.h"

#define IMPORT(n) __attribute__((import_module("host"), import_name(n)))
#define EXPORT(n) __attribute__((export_name(n)))

/* Runs operation `op`. Result >= 0: that many bytes wait in the outbox. Result < 0: an error text of -result-1 bytes
 * waits there. An asynchronous operation answers 0 at once and completes through `poll` under `id`. */
IMPORT("call") int32_t host_call(int32_t op, int32_t id, const uint8_t *payload, uint32_t length);
/* The same for operations that keep a processor busy: the host moves them off the thread that serves instances. */
IMPORT("work") int32_t host_work(int32_t op, int32_t id, const uint8_t *payload, uint32_t length);
/* Takes the outbox. */
IMPORT("read") void host_read(uint8_t *to);
/* Waits for the next completion: its length, or -1 when nothing is pending and no timer is set, -2 when `deadline`
 * (milliseconds of the wall clock, infinity for none) has come. */
IMPORT("poll") int32_t host_poll(double deadline, int32_t *id, int32_t *status);
/* The result of the export that runs: status 0 is success, 1 a failure described by JSON. */
IMPORT("ret") void host_ret(int32_t status, const uint8_t *bytes, uint32_t length);

extern JSValue run402_get_context(void);
extern void run402_set_context(JSContext *ctx, JSValue value);
extern int run402_link(JSContext *ctx, JSValueConst module);
extern void run402_reseed(JSContext *ctx, uint64_t seed);

#include "prelude.h"

static JSRuntime *rt;
static JSContext *ctx;
static JSValue hooks;    /* what the prelude hands over: {dispatch, event, report, timers, rejection, meta, drained} */
static JSValue builtins; /* specifier -> namespace object */
static JSValue sources;  /* path -> text of the user's files */
static JSValue entry_module, entry_namespace;

/* ---- the prelude's way to the host ---- */

/* The memory of a buffer the host filled: resized, or freed when the new size is zero. */
static void *manage_bytes(JSRuntime *r, void *opaque, void *bytes, size_t size) {
    if (size) return js_realloc_rt(r, bytes, size);
    js_free_rt(r, bytes);
    return NULL;
}

static JSValue take_bytes(JSContext *c, int32_t length) {
    uint8_t *bytes = js_malloc(c, length ? length : 1);
    if (!bytes) return JS_EXCEPTION;
    if (length) host_read(bytes);
    return JS_NewUint8Array(c, bytes, length, manage_bytes, NULL, false);
}

static JSValue take_text(JSContext *c, int32_t length) {
    char *bytes = js_malloc(c, length + 1);
    if (!bytes) return JS_EXCEPTION;
    if (length) host_read((uint8_t *)bytes);
    JSValue text = JS_NewStringLen(c, bytes, length);
    js_free(c, bytes);
    return text;
}

enum { BYTES, TEXT, WORK };

/* Imports are called directly: a pointer to one has no type the table would accept. */
static int32_t invoke(int magic, int32_t op, int32_t id, const uint8_t *payload, uint32_t length) {
    return magic == WORK ? host_work(op, id, payload, length) : host_call(op, id, payload, length);
}

static JSValue js_call_host(JSContext *c, JSValueConst this_value, int argc, JSValueConst *argv, int magic) {
    int32_t op, id;
    if (JS_ToInt32(c, &op, argv[0]) || JS_ToInt32(c, &id, argv[1])) return JS_EXCEPTION;
    int32_t result;
    size_t length;
    if (JS_IsString(argv[2])) {
        const char *text = JS_ToCStringLen(c, &length, argv[2]);
        if (!text) return JS_EXCEPTION;
        result = invoke(magic, op, id, (const uint8_t *)text, length);
        JS_FreeCString(c, text);
    } else if (JS_IsUndefined(argv[2])) {
        result = invoke(magic, op, id, NULL, 0);
    } else {
        uint8_t *bytes = JS_GetUint8Array(c, &length, argv[2]);
        if (!bytes) return JS_EXCEPTION;
        result = invoke(magic, op, id, bytes, length);
    }
    if (result < 0) {
        JSValue text = take_text(c, -result - 1);
        if (JS_IsException(text)) return text;
        JSValue fail = JS_GetPropertyStr(c, hooks, "fail");
        JSValue thrown = JS_Call(c, fail, JS_UNDEFINED, 1, &text);
        JS_FreeValue(c, fail);
        JS_FreeValue(c, text);
        return JS_IsException(thrown) ? thrown : JS_Throw(c, thrown);
    }
    return magic == TEXT ? take_text(c, result) : take_bytes(c, result);
}

static JSValue js_encode(JSContext *c, JSValueConst this_value, int argc, JSValueConst *argv) {
    size_t length;
    const char *text = JS_ToCStringLen(c, &length, argv[0]);
    if (!text) return JS_EXCEPTION;
    JSValue bytes = JS_NewUint8ArrayCopy(c, (const uint8_t *)text, length);
    JS_FreeCString(c, text);
    return bytes;
}

static bool is_utf8(const uint8_t *p, size_t n) {
    for (size_t i = 0; i < n;) {
        uint8_t b = p[i];
        if (b < 0x80) { i++; continue; }
        size_t more = b >= 0xf0 ? 3 : b >= 0xe0 ? 2 : 1;
        if (b < 0xc2 || b > 0xf4 || i + more >= n) return false;
        uint8_t second = p[i + 1];
        if ((second & 0xc0) != 0x80) return false;
        if ((b == 0xe0 && second < 0xa0) || (b == 0xed && second > 0x9f)) return false;
        if ((b == 0xf0 && second < 0x90) || (b == 0xf4 && second > 0x8f)) return false;
        for (size_t k = 2; k <= more; k++) if ((p[i + k] & 0xc0) != 0x80) return false;
        i += more + 1;
    }
    return true;
}

/* Text of well-formed UTF-8, else undefined: the host then decides what the broken parts become. */
static JSValue js_decode(JSContext *c, JSValueConst this_value, int argc, JSValueConst *argv) {
    size_t length;
    uint8_t *bytes = JS_GetUint8Array(c, &length, argv[0]);
    if (!bytes) return JS_EXCEPTION;
    return is_utf8(bytes, length) ? JS_NewStringLen(c, (const char *)bytes, length) : JS_UNDEFINED;
}

static JSValue js_latin1(JSContext *c, JSValueConst this_value, int argc, JSValueConst *argv) {
    size_t length;
    uint8_t *bytes = JS_GetUint8Array(c, &length, argv[0]);
    if (!bytes) return JS_EXCEPTION;
    uint16_t *wide = js_malloc(c, length * 2 + 2);
    if (!wide) return JS_EXCEPTION;
    for (size_t i = 0; i < length; i++) wide[i] = bytes[i];
    JSValue text = JS_NewStringUTF16(c, wide, length);
    js_free(c, wide);
    return text;
}

/* A frame: `[u32 length][text]`, then `[u32 length][bytes]` for each part, little endian (frame.rs). */
static JSValue js_pack(JSContext *c, JSValueConst this_value, int argc, JSValueConst *argv) {
    size_t length, size = 0;
    const char *text = JS_ToCStringLen(c, &length, argv[0]);
    if (!text) return JS_EXCEPTION;
    size = 4 + length;
    for (int i = 1; i < argc; i++) {
        size_t part;
        if (!JS_GetUint8Array(c, &part, argv[i])) goto failed;
        size += 4 + part;
    }
    uint8_t *out = js_malloc(c, size), *at = out;
    if (!out) goto failed;
    const uint8_t *from = (const uint8_t *)text;
    for (int i = 0;;) {
        uint32_t prefix = length;
        memcpy(at, &prefix, 4);
        memcpy(at + 4, from, length);
        at += 4 + length;
        if (++i >= argc) break;
        from = JS_GetUint8Array(c, &length, argv[i]);
    }
    JS_FreeCString(c, text);
    return JS_NewUint8Array(c, out, size, manage_bytes, NULL, false);
failed:
    JS_FreeCString(c, text);
    return JS_EXCEPTION;
}

static bool is_token(uint8_t b) {
    return (b >= 'a' && b <= 'z') || (b >= 'A' && b <= 'Z') || (b >= '0' && b <= '9') || (b && strchr("!#$%&'*+-.^_`|~", b));
}

static JSValue js_header_name(JSContext *c, JSValueConst this_value, int argc, JSValueConst *argv) {
    size_t length;
    const char *text = JS_ToCStringLen(c, &length, argv[0]);
    if (!text) return JS_EXCEPTION;
    bool token = length > 0, lower = true;
    for (size_t i = 0; i < length && token; i++) {
        token = is_token(text[i]);
        lower = lower && !(text[i] >= 'A' && text[i] <= 'Z');
    }
    JSValue name = token ? JS_DupValue(c, argv[0]) : JS_UNDEFINED;
    if (token && !lower) {
        JS_FreeValue(c, name);
        char *lowered = js_malloc(c, length);
        for (size_t i = 0; lowered && i < length; i++) lowered[i] = text[i] >= 'A' && text[i] <= 'Z' ? text[i] | 32 : text[i];
        name = lowered ? JS_NewStringLen(c, lowered, length) : JS_EXCEPTION;
        js_free(c, lowered);
    }
    JS_FreeCString(c, text);
    return name;
}

static bool is_space(uint8_t b) { return b == ' ' || b == '\t' || b == '\n' || b == '\r'; }

static JSValue js_header_value(JSContext *c, JSValueConst this_value, int argc, JSValueConst *argv) {
    size_t length;
    const char *text = JS_ToCStringLen(c, &length, argv[0]);
    if (!text) return JS_EXCEPTION;
    size_t from = 0, to = length;
    while (from < to && is_space(text[from])) from++;
    while (to > from && is_space(text[to - 1])) to--;
    bool fits = true;
    for (size_t i = from; i < to && fits; i++) {
        uint8_t b = text[i];
        /* Bytes above 0xc3 begin characters that are no bytes. */
        fits = b != 0 && b != '\n' && b != '\r' && b < 0xc4;
    }
    JSValue value = !fits ? JS_UNDEFINED : to - from == length ? JS_DupValue(c, argv[0]) : JS_NewStringLen(c, text + from, to - from);
    JS_FreeCString(c, text);
    return value;
}

static JSValue js_get_context(JSContext *c, JSValueConst this_value, int argc, JSValueConst *argv) {
    return run402_get_context();
}
static JSValue js_set_context(JSContext *c, JSValueConst this_value, int argc, JSValueConst *argv) {
    run402_set_context(c, JS_DupValue(c, argv[0]));
    return JS_UNDEFINED;
}
static JSValue js_promise_state(JSContext *c, JSValueConst this_value, int argc, JSValueConst *argv) {
    if (!JS_IsPromise(argv[0])) return JS_UNDEFINED;
    JSValue pair = JS_NewArray(c);
    JS_SetPropertyUint32(c, pair, 0, JS_NewInt32(c, JS_PromiseState(c, argv[0])));
    JS_SetPropertyUint32(c, pair, 1, JS_PromiseState(c, argv[0]) == JS_PROMISE_PENDING ? JS_UNDEFINED : JS_PromiseResult(c, argv[0]));
    return pair;
}
static JSValue js_proxy_target(JSContext *c, JSValueConst this_value, int argc, JSValueConst *argv) {
    return JS_IsProxy(argv[0]) ? JS_GetProxyTarget(c, argv[0]) : JS_UNDEFINED;
}
/* Milliseconds since an arbitrary moment; never goes back. */
static JSValue js_now(JSContext *c, JSValueConst this_value, int argc, JSValueConst *argv) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return JS_NewFloat64(c, (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6);
}
static JSValue js_detach(JSContext *c, JSValueConst this_value, int argc, JSValueConst *argv) {
    if (JS_IsArrayBuffer(argv[0])) JS_DetachArrayBuffer(c, argv[0]);
    return JS_UNDEFINED;
}

/* ---- modules ---- */

/* A segment list without "." and "..", or NULL when the path climbs out of the files. */
static char *join(JSContext *c, const char *base, const char *name) {
    const char *slash = strrchr(base, '/');
    size_t keep = slash ? (size_t)(slash - base) + 1 : 0, length = strlen(name);
    char *out = js_malloc(c, keep + length + 2);
    if (!out) return NULL;
    memcpy(out, base, keep);
    char *end = out + keep;
    while (*name) {
        const char *stop = strchr(name, '/');
        size_t n = stop ? (size_t)(stop - name) : strlen(name);
        if (n == 2 && name[0] == '.' && name[1] == '.') {
            if (end == out) { js_free(c, out); return NULL; }
            end--;
            while (end > out && end[-1] != '/') end--;
        } else if (n && !(n == 1 && name[0] == '.')) {
            memcpy(end, name, n);
            end += n;
            if (stop) *end++ = '/';
        }
        name += n + (stop ? 1 : 0);
    }
    *end = 0;
    return out;
}

static bool has(JSContext *c, JSValueConst table, const char *name) {
    JSAtom atom = JS_NewAtom(c, name);
    int found = JS_HasProperty(c, table, atom);
    JS_FreeAtom(c, atom);
    return found > 0;
}

static char *unresolved(JSContext *c, const char *base, const char *name) {
    JSValue fail = JS_GetPropertyStr(c, hooks, "unresolved");
    JSValue args[2] = { JS_NewString(c, name), JS_NewString(c, base) };
    JSValue error = JS_Call(c, fail, JS_UNDEFINED, 2, args);
    JS_FreeValue(c, args[0]);
    JS_FreeValue(c, args[1]);
    JS_FreeValue(c, fail);
    if (!JS_IsException(error)) JS_Throw(c, error);
    return NULL;
}

static char *normalize(JSContext *c, const char *base, const char *name, void *opaque) {
    if (name[0] == '.' && (name[1] == '/' || (name[1] == '.' && (name[2] == '/' || !name[2])) || !name[1])) {
        char *path = join(c, base, name);
        if (path && has(c, sources, path)) return path;
        if (path) js_free(c, path);
        return unresolved(c, base, name);
    }
    if (!strncmp(name, "node:", 5) && has(c, builtins, name + 5)) return js_strdup(c, name + 5);
    if (has(c, builtins, name) || has(c, sources, name)) return js_strdup(c, name);
    return unresolved(c, base, name);
}

static int fill_exports(JSContext *c, JSModuleDef *m) {
    JSValue namespace = JS_GetModulePrivateValue(c, m);
    JSPropertyEnum *keys;
    uint32_t n;
    if (JS_GetOwnPropertyNames(c, &keys, &n, namespace, JS_GPN_STRING_MASK)) return -1;
    for (uint32_t i = 0; i < n; i++) {
        const char *key = JS_AtomToCString(c, keys[i].atom);
        JS_SetModuleExport(c, m, key, JS_GetProperty(c, namespace, keys[i].atom));
        JS_FreeCString(c, key);
    }
    JS_FreePropertyEnum(c, keys, n);
    JS_FreeValue(c, namespace);
    return 0;
}

static JSModuleDef *native_module(JSContext *c, const char *name, JSValue namespace) {
    JSModuleDef *m = JS_NewCModule(c, name, fill_exports);
    JSPropertyEnum *keys;
    uint32_t n;
    if (!m || JS_GetOwnPropertyNames(c, &keys, &n, namespace, JS_GPN_STRING_MASK)) {
        JS_FreeValue(c, namespace);
        return NULL;
    }
    for (uint32_t i = 0; i < n; i++) {
        const char *key = JS_AtomToCString(c, keys[i].atom);
        JS_AddModuleExport(c, m, key);
        JS_FreeCString(c, key);
    }
    JS_FreePropertyEnum(c, keys, n);
    JS_SetModulePrivateValue(c, m, namespace);
    return m;
}

static JSModuleDef *load(JSContext *c, const char *name, void *opaque, JSValueConst attributes) {
    if (has(c, builtins, name)) return native_module(c, name, JS_GetPropertyStr(c, builtins, name));
    JSValue source = JS_GetPropertyStr(c, sources, name);
    size_t length, path = strlen(name);
    const char *text = JS_ToCStringLen(c, &length, source);
    JS_FreeValue(c, source);
    if (!text) return NULL;
    JSModuleDef *m = NULL;
    if (path > 5 && !strcmp(name + path - 5, ".json")) {
        JSValue value = JS_ParseJSON(c, text, length, name);
        if (!JS_IsException(value)) {
            JSValue namespace = JS_NewObject(c);
            JS_SetPropertyStr(c, namespace, "default", value);
            m = native_module(c, name, namespace);
        }
    } else {
        JSValue module = JS_Eval(c, text, length, name, JS_EVAL_TYPE_MODULE | JS_EVAL_FLAG_COMPILE_ONLY);
        if (!JS_IsException(module)) {
            m = JS_VALUE_GET_PTR(module);
            JSValue meta = JS_GetImportMeta(c, m), fill = JS_GetPropertyStr(c, hooks, "meta");
            JSValue args[2] = { meta, JS_NewString(c, name) };
            JSValue done = JS_Call(c, fill, JS_UNDEFINED, 2, args);
            JS_FreeValue(c, done);
            JS_FreeValue(c, args[1]);
            JS_FreeValue(c, fill);
            JS_FreeValue(c, meta);
            JS_FreeValue(c, module);
        }
    }
    JS_FreeCString(c, text);
    return m;
}

/* ---- results ---- */

static const char OUT_OF_MEMORY[] = "{\"name\":\"InternalError\",\"message\":\"out of memory\"}";

static int fail(void) {
    JSValue error = JS_GetException(ctx);
    JSValue report = JS_GetPropertyStr(ctx, hooks, "report");
    JSValue text = JS_Call(ctx, report, JS_UNDEFINED, 1, &error);
    size_t length;
    const char *bytes = JS_IsString(text) ? JS_ToCStringLen(ctx, &length, text) : NULL;
    if (bytes) {
        host_ret(1, (const uint8_t *)bytes, length);
        JS_FreeCString(ctx, bytes);
    } else {
        host_ret(1, (const uint8_t *)OUT_OF_MEMORY, sizeof OUT_OF_MEMORY - 1);
    }
    JS_FreeValue(ctx, text);
    JS_FreeValue(ctx, report);
    JS_FreeValue(ctx, error);
    return 1;
}

static int call_hook(const char *name, int argc, JSValue *argv) {
    JSValue hook = JS_GetPropertyStr(ctx, hooks, name);
    JSValue result = JS_Call(ctx, hook, JS_UNDEFINED, argc, argv);
    JS_FreeValue(ctx, hook);
    if (JS_IsException(result)) return -1;
    JS_FreeValue(ctx, result);
    return 0;
}

static double next_timer(void) {
    JSValue hook = JS_GetPropertyStr(ctx, hooks, "deadline");
    JSValue result = JS_Call(ctx, hook, JS_UNDEFINED, 0, NULL);
    double deadline = 0;
    JS_ToFloat64(ctx, &deadline, result);
    JS_FreeValue(ctx, result);
    JS_FreeValue(ctx, hook);
    return deadline;
}

/* A promise was rejected and nobody has told of it yet. */
static bool rejections;

static void on_rejection(JSContext *c, JSValueConst promise, JSValueConst reason, bool handled, void *opaque) {
    rejections = true;
    JSValue hook = JS_GetPropertyStr(c, hooks, "rejection");
    JSValueConst args[3] = { promise, reason, JS_NewBool(c, handled) };
    JSValue result = JS_Call(c, hook, JS_UNDEFINED, 3, args);
    if (JS_IsException(result)) JS_FreeValue(c, JS_GetException(c));
    JS_FreeValue(c, result);
    JS_FreeValue(c, hook);
}

/* Runs jobs, timers and completions until the promise settles, and gives back what it is; any other value is there
 * already. Consumes it. */
static int drive(JSValue promise) {
    for (;;) {
        JSContext *c;
        int ran;
        while ((ran = JS_ExecutePendingJob(rt, &c)) > 0) {}
        if (ran < 0) goto failed;
        JSPromiseStateEnum state = JS_IsPromise(promise) ? JS_PromiseState(ctx, promise) : JS_PROMISE_FULFILLED;
        /* The host hears of this one. */
        if (state == JS_PROMISE_REJECTED) on_rejection(ctx, promise, JS_UNDEFINED, true, NULL);
        if (rejections) {
            rejections = false;
            if (call_hook("drained", 0, NULL) < 0) goto failed;
        }
        if (state == JS_PROMISE_REJECTED) {
            JS_Throw(ctx, JS_PromiseResult(ctx, promise));
            goto failed;
        }
        if (state != JS_PROMISE_PENDING) {
            JSValue value = JS_IsPromise(promise) ? JS_PromiseResult(ctx, promise) : JS_DupValue(ctx, promise);
            size_t length = 0;
            uint8_t *bytes = JS_IsObject(value) ? JS_GetUint8Array(ctx, &length, value) : NULL;
            if (!bytes) JS_FreeValue(ctx, JS_GetException(ctx));
            host_ret(0, bytes, bytes ? length : 0);
            JS_FreeValue(ctx, value);
            JS_FreeValue(ctx, promise);
            return 0;
        }
        int32_t id = 0, status = 0;
        int32_t length = host_poll(next_timer(), &id, &status);
        if (length == -1) {
            static const char STUCK[] = "{\"name\":\"Deadlock\",\"message\":\"The function waits for a promise that nothing can settle\"}";
            host_ret(1, (const uint8_t *)STUCK, sizeof STUCK - 1);
            JS_FreeValue(ctx, promise);
            return 1;
        }
        if (length == -2) {
            if (call_hook("timers", 0, NULL) < 0) goto failed;
            continue;
        }
        JSValue args[3] = { JS_NewInt32(ctx, id), JS_NewInt32(ctx, status), take_bytes(ctx, length) };
        if (JS_IsException(args[2])) goto failed;
        int delivered = call_hook("event", 3, args);
        JS_FreeValue(ctx, args[2]);
        if (delivered < 0) goto failed;
    }
failed:
    JS_FreeValue(ctx, promise);
    return fail();
}

/* ---- doors of the host ---- */

EXPORT("alloc") uint8_t *guest_alloc(uint32_t length) {
    uint8_t *bytes = malloc((size_t)length + 1);
    if (bytes) bytes[length] = 0;
    return bytes;
}

/* Where the host puts requests that are not long, so that it need not ask for memory each time. */
#define INBOX 16384
static uint8_t inbox[INBOX];
EXPORT("inbox") uint8_t *guest_inbox(void) { return inbox; }

/* Registers a file: its path, NUL, its text. Consumes the bytes. */
EXPORT("add_module") int32_t add_module(char *bytes, uint32_t length) {
    size_t path = strlen(bytes);
    int status = JS_SetPropertyStr(ctx, sources, bytes, JS_NewStringLen(ctx, bytes + path + 1, length - path - 1));
    free(bytes);
    return status < 0 ? fail() : 0;
}

/* Compiles the entry and all it imports, and links them. Gives back the names of the entry's exports, one a line.
 * Consumes the path. */
EXPORT("link") int32_t link_entry(char *path, uint32_t length) {
    JSModuleDef *m = load(ctx, path, NULL, JS_UNDEFINED);
    free(path);
    if (!m) return fail();
    entry_module = JS_DupValue(ctx, JS_MKPTR(JS_TAG_MODULE, m));
    if (JS_ResolveModule(ctx, entry_module) < 0 || run402_link(ctx, entry_module) < 0) return fail();
    JSValue namespace = JS_GetModuleNamespace(ctx, m), names = JS_UNDEFINED;
    if (!JS_IsException(namespace)) {
        JSValue list = JS_GetPropertyStr(ctx, hooks, "names");
        names = JS_Call(ctx, list, JS_UNDEFINED, 1, &namespace);
        JS_FreeValue(ctx, list);
        JS_FreeValue(ctx, namespace);
    }
    size_t size;
    const char *text = JS_IsString(names) ? JS_ToCStringLen(ctx, &size, names) : NULL;
    if (!text) return fail();
    host_ret(0, (const uint8_t *)text, size);
    JS_FreeCString(ctx, text);
    JS_FreeValue(ctx, names);
    return 0;
}

/* Entropy and the setup of one instance: seed of Math.random, JSON for the prelude. Consumes the bytes. */
EXPORT("seed") int32_t seed(uint64_t random, char *setup, uint32_t length) {
    run402_reseed(ctx, random);
    JSValue text = JS_NewStringLen(ctx, setup, length);
    free(setup);
    int status = call_hook("setup", 1, &text);
    JS_FreeValue(ctx, text);
    return status < 0 ? fail() : 0;
}

/* Runs the top level of the modules; top-level await included. */
EXPORT("start") int32_t start(void) {
    JSModuleDef *m = JS_VALUE_GET_PTR(entry_module);
    JSValue promise = JS_EvalFunction(ctx, JS_DupValue(ctx, entry_module));
    if (JS_IsException(promise)) return fail();
    if (drive(promise)) return 1;
    entry_namespace = JS_GetModuleNamespace(ctx, m);
    return JS_IsException(entry_namespace) ? fail() : 0;
}

/* One request: a frame of head and body in, a frame out. Consumes the bytes, unless they are the inbox. */
EXPORT("handle") int32_t handle(uint8_t *frame, uint32_t length) {
    /* The host made the frame: its lengths are right. What follows the head is read before it becomes the NUL that
     * the parser wants. */
    uint32_t head, body;
    memcpy(&head, frame, 4);
    memcpy(&body, frame + 4 + head, 4);
    frame[4 + head] = 0;
    JSValue args[3] = {
        JS_ParseJSON(ctx, (const char *)frame + 4, head, "<request>"),
        body ? JS_NewUint8ArrayCopy(ctx, frame + 8 + head, body) : JS_UNDEFINED,
        entry_namespace,
    };
    if (frame != inbox) free(frame);
    JSValue answer = JS_EXCEPTION;
    if (!JS_IsException(args[0]) && !JS_IsException(args[1])) {
        JSValue dispatch = JS_GetPropertyStr(ctx, hooks, "dispatch");
        answer = JS_Call(ctx, dispatch, JS_UNDEFINED, 3, args);
        JS_FreeValue(ctx, dispatch);
    }
    JS_FreeValue(ctx, args[0]);
    JS_FreeValue(ctx, args[1]);
    return JS_IsException(answer) ? fail() : drive(answer);
}

static void expose(JSValue to, const char *name, JSCFunction *function, int arity) {
    JS_SetPropertyStr(ctx, to, name, JS_NewCFunction(ctx, function, name, arity));
}

/* Runs at build time only. */
EXPORT("initialize") int32_t initialize(void) {
    run402_set_context(NULL, JS_UNDEFINED);
    rt = JS_NewRuntime();
    JS_SetMaxStackSize(rt, JS_STACK_BYTES);
    ctx = JS_NewContext(rt);
    JS_SetModuleLoaderFunc2(rt, normalize, load, NULL, NULL);
    builtins = JS_NewObjectProto(ctx, JS_NULL);
    sources = JS_NewObjectProto(ctx, JS_NULL);
    hooks = JS_NewObjectProto(ctx, JS_NULL);
    entry_module = entry_namespace = JS_UNDEFINED;
    JSValue host = JS_NewObjectProto(ctx, JS_NULL);
    JS_SetPropertyStr(ctx, host, "bytes", JS_NewCFunctionMagic(ctx, js_call_host, "bytes", 3, JS_CFUNC_generic_magic, BYTES));
    JS_SetPropertyStr(ctx, host, "text", JS_NewCFunctionMagic(ctx, js_call_host, "text", 3, JS_CFUNC_generic_magic, TEXT));
    JS_SetPropertyStr(ctx, host, "work", JS_NewCFunctionMagic(ctx, js_call_host, "work", 3, JS_CFUNC_generic_magic, WORK));
    expose(host, "encode", js_encode, 1);
    expose(host, "decode", js_decode, 1);
    expose(host, "latin1", js_latin1, 1);
    expose(host, "pack", js_pack, 1);
    expose(host, "headerName", js_header_name, 1);
    expose(host, "headerValue", js_header_value, 1);
    expose(host, "getContext", js_get_context, 0);
    expose(host, "setContext", js_set_context, 1);
    expose(host, "promiseState", js_promise_state, 1);
    expose(host, "proxyTarget", js_proxy_target, 1);
    expose(host, "detach", js_detach, 1);
    expose(host, "now", js_now, 0);
    JS_SetPropertyStr(ctx, host, "builtins", JS_DupValue(ctx, builtins));
    JS_SetPropertyStr(ctx, host, "hooks", JS_DupValue(ctx, hooks));
    JSValue global = JS_GetGlobalObject(ctx);
    JS_SetPropertyStr(ctx, global, "__host", host);
    JSValue result = JS_Eval(ctx, (const char *)PRELUDE, PRELUDE_LENGTH, "run402:prelude", JS_EVAL_TYPE_GLOBAL);
    if (JS_IsException(result)) return fail();
    JS_FreeValue(ctx, result);
    JSContext *c;
    while (JS_ExecutePendingJob(rt, &c) > 0) {}
    JSAtom name = JS_NewAtom(ctx, "__host");
    JS_DeleteProperty(ctx, global, name, 0);
    JS_FreeAtom(ctx, name);
    JS_FreeValue(ctx, global);
    JS_SetHostPromiseRejectionTracker(rt, on_rejection, NULL);
    JS_RunGC(rt);
    JSMemoryUsage usage;
    JS_ComputeMemoryUsage(rt, &usage);
    /* The prelude is live for ever: collecting again before 8 MB more are there only costs time. */
    JS_SetGCThreshold(rt, (size_t)usage.malloc_size + (8u << 20));
    return 0;
}
