// The built-in module `@run402/functions`: exactly the names of its npm package 4.0.0, without a default export.
import { host } from '../host';
import * as authErrors from './auth-errors';
import { ai } from './ai';
import { assets } from './assets';
import { auth } from './auth';
import { cache, CacheInvalidationHostForbiddenError, CacheInvalidationHostRequiredError } from './cache';
import {
  als,
  getCurrentContext,
  PAYMENT_PRIMITIVES,
  requireActiveContext,
  Run402OutsideRequestContextError,
  taintCacheBypass,
  withPaymentTaint,
} from './context';
import { adminDb, db, QueryBuilder, R402DbError } from './db';
import { email } from './email';
import { events, Run402EventsPlatformError } from './events';
import {
  consumeMerchantFulfillmentDirective,
  decodeMerchantFulfillmentDirective,
  MERCHANT_FULFILLMENT_DIRECTIVE_HEADER,
  MERCHANT_RECEIPT_MODE_HEADER,
  payment,
  Run402PaymentFulfillmentError,
} from './payment';
import { bytes, getRoutedPaymentContext, getRun402Context, isRequest, json, routedHttp, text } from './routed';
import { runWithContext } from './run-with-context';
import {
  defineFunctionRuns,
  functions,
  isFunctionRun,
  parseFunctionRun,
  parseFunctionRunEnvelope,
  permanentFunctionRunError,
  retryableFunctionRunError,
  Run402FunctionRunContextError,
  Run402FunctionRunFailure,
  Run402FunctionRunInputError,
  Run402FunctionRunPlatformError,
} from './runs';
import { ensureActorContextKeysLoaded, ensureProjectJwtKeysLoaded } from './tokens';
import { verifyWebhook } from './webhook';

const { unknownExport: _, ...errors } = authErrors;

host.builtins['@run402/functions'] = {
  ...errors,
  CacheInvalidationHostForbiddenError,
  CacheInvalidationHostRequiredError,
  MERCHANT_FULFILLMENT_DIRECTIVE_HEADER,
  MERCHANT_RECEIPT_MODE_HEADER,
  PAYMENT_PRIMITIVES,
  QueryBuilder,
  R402DbError,
  Run402EventsPlatformError,
  Run402FunctionRunContextError,
  Run402FunctionRunFailure,
  Run402FunctionRunInputError,
  Run402FunctionRunPlatformError,
  Run402OutsideRequestContextError,
  Run402PaymentFulfillmentError,
  adminDb,
  ai,
  als,
  assets,
  auth,
  bytes,
  cache,
  consumeMerchantFulfillmentDirective,
  db,
  decodeMerchantFulfillmentDirective,
  defineFunctionRuns,
  email,
  ensureActorContextKeysLoaded,
  ensureProjectJwtKeysLoaded,
  events,
  functions,
  getCurrentContext,
  getRoutedPaymentContext,
  getRun402Context,
  isFunctionRun,
  isRequest,
  json,
  parseFunctionRun,
  parseFunctionRunEnvelope,
  payment,
  permanentFunctionRunError,
  requireActiveContext,
  retryableFunctionRunError,
  routedHttp,
  runWithContext,
  taintCacheBypass,
  text,
  verifyWebhook,
  withPaymentTaint,
};
