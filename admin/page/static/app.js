// What the page does with script. Everything works without it too.
import './dialog.js';
import './copy.js';
import './countdown.js';
import './help.js';
import './menus.js';
import './poll.js';
import './selection.js';
import './roles.js';
import './shortcuts.js';
import './theme.js';
import { say } from './say.js';

// A summary of faults takes the focus, so that it is read first.
const focusFaults = (within) => within.querySelector('[data-focus]')?.focus();
focusFaults(document);

// What was done, or was not, is told once: the one region that is never swapped says it.
const sayNotice = () => {
  const notice = document.querySelector('#notice > .notice:not([data-told])');
  if (!notice) return false;
  notice.dataset.told = '';
  say(notice.querySelector('span').textContent.trim());
  return true;
};
let outcome; // the answer that it came with
setTimeout(sayNotice, 100); // a region is heeded once it is there

// Whether the focus is in what is about to be swapped: what loads itself anew must not
// take it from elsewhere.
let within = false;
document.addEventListener('htmx:beforeSwap', ({ detail }) => { within = detail.target.contains(document.activeElement); });

document.addEventListener('htmx:afterSettle', ({ target, detail }) => {
  focusFaults(target);
  // Commands that were asked for are brought into sight.
  target.querySelector('#commands[open]')?.scrollIntoView({ block: 'nearest' });
  const said = target.matches('[data-say]') ? target : target.querySelector('[data-say]');
  // What is loaded behind a dialog is not what one is at, and what came of an action
  // says more than what is loaded anew since.
  const dialog = document.querySelector('dialog[open]');
  const anew = detail.requestConfig?.triggeringEvent?.type === 'keyreeve:done';
  if (sayNotice()) outcome = detail.xhr;
  else if (detail.xhr !== outcome && !anew && said && (!dialog || dialog.contains(target))) say(said.textContent.trim());
  // What had the focus is gone: go on where the new content begins.
  if (within && document.activeElement === document.body) target.querySelector('[data-land]')?.focus();
});

document.addEventListener('click', (event) => {
  const button = event.target.closest('[data-dismiss]');
  if (!button) return;
  button.closest('.notice').remove();
  document.getElementById('main').focus({ preventScroll: true });
});

// On small screens the rooms are a strip to scroll: it begins with the room one is in.
const here = document.querySelector('.rooms [aria-current]');
const strip = here?.closest('.rooms');
if (strip) strip.scrollLeft += here.getBoundingClientRect().left - (strip.clientWidth - here.offsetWidth) / 2;

document.addEventListener('htmx:sendError', () => say('The server cannot be reached.'));
