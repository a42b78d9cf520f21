// payment.fulfilled() and its directive. Contract 05 §10.5. Routes of this platform have no price, so the usual answer is
// R402_PAYMENT_FULFILLMENT_RECEIPT_NOT_ENABLED.
import { Buffer } from './bytes';
import { requireActiveContext, withPaymentTaint } from './context';
import { docs, isRecord, type Json, recordOf, remember } from './errors';
import { header } from './headers';
import { getRoutedPaymentContext } from './routed';

export const MERCHANT_FULFILLMENT_DIRECTIVE_HEADER = 'x-run402-merchant-fulfillment';
export const MERCHANT_RECEIPT_MODE_HEADER = 'x-run402-payment-receipt-mode';
const VERSION = 'run402.merchant_fulfillment.v1';

type Reason = 'OUTSIDE_ROUTED_REQUEST' | 'RECEIPT_NOT_ENABLED' | 'UNSETTLED' | 'CONTEXT_EXPIRED' | 'DIRECTIVE_INVALID';

export class Run402PaymentFulfillmentError extends Error {
  readonly code: string;
  readonly docs = docs('payment-fulfillment-context');
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
    remember(this, 'Run402PaymentFulfillmentError');
  }
}
const refused = (reason: Reason, message: string) => new Run402PaymentFulfillmentError(`R402_PAYMENT_FULFILLMENT_${reason}`, message);

const fulfilled = withPaymentTaint('payment.fulfilled', (response: Response): Response => {
  const context = requireActiveContext('payment.fulfilled');
  if (context.invocationKind !== 'routed_http') throw refused('OUTSIDE_ROUTED_REQUEST', 'payment.fulfilled() works on routes of a site only');
  const { headers } = context.request;
  if (header(headers, MERCHANT_RECEIPT_MODE_HEADER) !== 'on_fulfillment') throw refused('RECEIPT_NOT_ENABLED', 'This route has no price whose receipt waits for fulfilment');
  const payment = getRoutedPaymentContext(headers);
  if (payment === null) throw refused('UNSETTLED', 'No settled payment came with this request');
  if (payment.contextExpiresAt !== undefined && Date.parse(payment.contextExpiresAt) <= Date.now()) throw refused('CONTEXT_EXPIRED', 'The payment of this request may no longer be declared fulfilled');
  if (!(response instanceof Response)) throw new TypeError('payment.fulfilled() takes the Response');
  const directive = Buffer.from(JSON.stringify({ version: VERSION, claim: 'service_delivered', payment })).toString('base64url');
  const { status, statusText } = response;
  const marked = new Response(response.body, { status, statusText, headers: response.headers });
  marked.headers.set(MERCHANT_FULFILLMENT_DIRECTIVE_HEADER, directive);
  return marked;
});

export const payment = { fulfilled };

export function decodeMerchantFulfillmentDirective(encoded: string): Json | null {
  const directive = recordOf(Buffer.from(encoded, 'base64url').toString('utf8'));
  if (directive?.version !== VERSION || directive.claim !== 'service_delivered' || !isRecord(directive.payment)) return null;
  return typeof directive.payment.paymentId === 'string' && directive.payment.scheme === 'x402' ? directive : null;
}

/** Takes the directive out of an envelope's headers and puts it beside them. */
export function consumeMerchantFulfillmentDirective(response: Json): Json {
  const pairs = (response.headers ?? []) as [string, string][];
  if (!Array.isArray(pairs)) throw new TypeError('The headers of a routed response are a list of pairs');
  const isDirective = ([name]: [string, string]) => name.toLowerCase() === MERCHANT_FULFILLMENT_DIRECTIVE_HEADER;
  const found = pairs.find(isDirective);
  const rest = { ...response, headers: pairs.filter((pair) => !isDirective(pair)) };
  if (found === undefined) return rest;
  const fulfillment = decodeMerchantFulfillmentDirective(found[1]);
  if (fulfillment === null) throw refused('DIRECTIVE_INVALID', 'The fulfilment directive of this response cannot be read');
  return { ...rest, fulfillment };
}
