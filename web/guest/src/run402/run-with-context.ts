// runWithContext(): for code that brings its own request, such as a server framework. Contract 05 §10.5.
import { als, type ContextActor, getCurrentContext, type GivenContext, type RequestContext } from './context';
import { header } from './headers';
import { verifyActor } from './tokens';

/** Who the platform says is asking: known already when the request is the one being handled, else as the envelope tells. */
function actorOf(given: GivenContext): ContextActor | null {
  const outer = getCurrentContext();
  if (outer?.active.value && outer.requestId === given.requestId && outer.projectId === given.projectId) return outer.actor;
  const { headers, method, url } = given.request;
  const encoded = header(headers, 'x-run402-actor-context');
  if (encoded === undefined) return null;
  const { projectId, requestId, host } = given;
  return verifyActor(encoded, { projectId, requestId, method, url, host });
}

export function runWithContext<T>(given: GivenContext, run: () => T): T {
  const context: RequestContext = {
    ...given,
    actor: given.actor === undefined ? actorOf(given) : given.actor,
    invocationKind: given.invocationKind ?? 'direct',
    idempotencyKey: given.idempotencyKey ?? null,
    // A page rendered in a context of its own is still the answer of the request around it.
    cacheBypassTainted: given.cacheBypassTainted ?? getCurrentContext()?.cacheBypassTainted ?? { value: false },
    active: given.active ?? { value: true },
  };
  return als.run(context, run);
}
