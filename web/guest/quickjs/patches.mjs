// What the guest needs of QuickJS-NG that its public interface does not offer. Each patch names the exact text it
// replaces; the build fails when a new version of the engine no longer has it.

/** @type {{ why: string, find: string, replace: string }[]} */
export const patches = [
  {
    why: 'WASI builds switch the stack limit off; without it deep recursion traps instead of throwing RangeError',
    find: '#ifdef __wasi__\n    rt->stack_size = 0;\n#endif\n',
    replace: '',
  },
  {
    why: 'the same',
    find: '#if defined(__wasi__)\n    rt->stack_limit = 0; /* no limit */\n#else\n    if (rt->stack_size == 0)',
    replace: '#if 0\n#else\n    if (rt->stack_size == 0)',
  },
  {
    why: 'the async context: a value captured where a job or reaction is made and current while it runs',
    find: 'typedef struct JSJobEntry {\n    struct list_head link;\n',
    replace:
      'static JSValue run402_context;\n\ntypedef struct JSJobEntry {\n    struct list_head link;\n    JSValue context;\n',
  },
  {
    why: 'jobs capture the context',
    find: '    e->argc = argc;\n    for(i = 0; i < argc; i++) {\n        e->argv[i] = js_dup(argv[i]);',
    replace:
      '    e->argc = argc;\n    e->context = js_dup(run402_context);\n    for(i = 0; i < argc; i++) {\n        e->argv[i] = js_dup(argv[i]);',
  },
  {
    why: 'jobs run in their context',
    find: '    res = e->job_func(e->ctx, e->argc, vc(e->argv));\n',
    replace: `    JSValue outer = run402_context;
    run402_context = e->context;
    res = e->job_func(e->ctx, e->argc, vc(e->argv));
    JS_FreeValue(ctx, run402_context);
    run402_context = outer;
`,
  },
  {
    why: 'reactions remember the context they were registered in',
    find: 'typedef struct JSPromiseReactionData {\n',
    replace: 'typedef struct JSPromiseReactionData {\n    JSValue context;\n',
  },
  {
    why: 'the same',
    find: '    JS_FreeValueRT(rt, rd->handler);\n    js_free_rt(rt, rd);\n',
    replace:
      '    JS_FreeValueRT(rt, rd->handler);\n    JS_FreeValueRT(rt, rd->context);\n    js_free_rt(rt, rd);\n',
  },
  {
    why: 'the same',
    find: '        rd->handler = js_dup(handler);\n',
    replace: '        rd->handler = js_dup(handler);\n        rd->context = js_dup(run402_context);\n',
  },
  {
    why: 'the same, for the cycle collector',
    find: '            JS_MarkValue(rt, rd->handler, mark_func);\n        }\n    }\n    JS_MarkValue(rt, s->promise_result, mark_func);',
    replace:
      '            JS_MarkValue(rt, rd->handler, mark_func);\n            JS_MarkValue(rt, rd->context, mark_func);\n        }\n    }\n    JS_MarkValue(rt, s->promise_result, mark_func);',
  },
  {
    why: 'a settled promise runs its reactions in their own contexts, not in that of whoever settled it',
    find: '        args[4] = value;\n        JS_EnqueueJob(ctx, promise_reaction_job, 5, args);\n        list_del(&rd->link);',
    replace: `        args[4] = value;
        JSValue outer = run402_context;
        run402_context = rd->context;
        JS_EnqueueJob(ctx, promise_reaction_job, 5, args);
        run402_context = outer;
        list_del(&rd->link);`,
  },
];

/** Appended to quickjs.c: doors into what is private there. */
export const additions = `
JSValue run402_get_context(void) { return js_dup(run402_context); }
void run402_set_context(JSContext *ctx, JSValue value)
{
    JSValue old = run402_context;
    run402_context = value;
    JS_FreeValue(ctx, old);
}
/* Binds imports to exports without running anything: a missing export shows when a program is compiled. */
int run402_link(JSContext *ctx, JSValueConst module)
{
    JSModuleDef *m = JS_VALUE_GET_PTR(module);
    if (js_create_module_function(ctx, m) < 0 || js_link_module(ctx, m) < 0)
        return -1;
    return 0;
}
/* Math.random was seeded when the snapshot was made: every instance gets a seed of its own. */
void run402_reseed(JSContext *ctx, uint64_t seed) { ctx->random_state = seed ? seed : 1; }
`;
