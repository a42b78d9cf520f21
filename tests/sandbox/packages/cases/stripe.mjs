import assert from 'node:assert';
import Stripe from 'stripe';

/** A client whose requests end here. */
function client(answers) {
  const seen = [];
  const fetchFn = async (url, init) => {
    seen.push({ url: String(url), method: init.method, headers: new Headers(init.headers), body: init.body });
    const [status, body] = answers.shift();
    return new Response(JSON.stringify(body), { status, headers: { 'request-id': 'req_s' } });
  };
  return { seen, stripe: new Stripe('sk_test_x', { httpClient: Stripe.createFetchHttpClient(fetchFn), maxNetworkRetries: 1 }) };
}

export async function creates_a_payment() {
  const { stripe, seen } = client([[200, { id: 'pi_1', object: 'payment_intent', amount: 500 }]]);
  const intent = await stripe.paymentIntents.create({ amount: 500, currency: 'eur', metadata: { order: 'ä 1' } }, { idempotencyKey: 'k1' });
  assert.equal(intent.id, 'pi_1');
  const [request] = seen;
  assert.deepEqual([request.method, request.url], ['POST', 'https://api.stripe.com/v1/payment_intents']);
  assert.equal(request.headers.get('authorization'), 'Bearer sk_test_x');
  assert.equal(request.headers.get('idempotency-key'), 'k1');
  assert.equal(String(request.body), 'amount=500&currency=eur&metadata[order]=%C3%A4%201');
}

export async function retries_and_reports() {
  const { stripe, seen } = client([[500, { error: { message: 'away' } }], [402, { error: { type: 'card_error', code: 'card_declined', message: 'declined' } }]]);
  await assert.rejects(stripe.charges.create({ amount: 1, currency: 'eur', source: 'tok' }), { type: 'StripeCardError', code: 'card_declined', statusCode: 402 });
  assert.equal(seen.length, 2);
}

export async function pages_through_a_list() {
  const page = (ids, more) => [200, { object: 'list', data: ids.map((id) => ({ id })), has_more: more, url: '/v1/customers' }];
  const { stripe, seen } = client([page(['a', 'b'], true), page(['c'], false)]);
  const ids = [];
  for await (const customer of stripe.customers.list({ limit: 2 })) ids.push(customer.id);
  assert.deepEqual(ids, ['a', 'b', 'c']);
  assert.match(seen[1].url, /starting_after=b/);
}

export async function verifies_webhooks() {
  const stripe = new Stripe('sk_test_x');
  const payload = JSON.stringify({ id: 'evt_1', object: 'event', type: 'x.y', note: 'ä' });
  const header = await stripe.webhooks.generateTestHeaderStringAsync({ payload, secret: 'whsec_1' });
  assert.equal((await stripe.webhooks.constructEventAsync(payload, header, 'whsec_1')).type, 'x.y');
  assert.equal(stripe.webhooks.constructEvent(payload, header, 'whsec_1').id, 'evt_1');
  await assert.rejects(stripe.webhooks.constructEventAsync(payload, header, 'whsec_2'), { type: 'StripeSignatureVerificationError' });
  assert.throws(() => stripe.webhooks.constructEvent(`${payload} `, header, 'whsec_1'), { type: 'StripeSignatureVerificationError' });
}
