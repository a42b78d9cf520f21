// The prelude: everything a function finds before its own code. Order matters: later files use earlier globals.
import './web/performance';
import './web/dom-exception';
import './web/timers';
import './web/events';
import './web/encoding';
import './web/url';
import './web/streams';
import './web/blob';
import './web/clone';
import './web/fetch';
import './web/crypto';
import './console';
import 'urlpattern-polyfill';
import './globals';
import './node/index';
import './run402/index';
import './dispatch';
