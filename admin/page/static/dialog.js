// The one dialog. Forms and details are loaded into it; without script the same
// addresses are pages. data-hold in it keeps it open until that is gone, or let go.
import { held, refuse } from './hold.js';

const dialog = document.getElementById('dialog');
// What had the focus before: loaded anew meanwhile, it has the same id.
let opener = '';

document.addEventListener('htmx:afterSwap', ({ detail }) => {
  if (detail.target !== dialog) return;
  if (!dialog.querySelector('*')) {
    dialog.close();
  } else if (!dialog.open) {
    opener = document.activeElement?.id ?? '';
    dialog.showModal();
    begin();
  }
});

// A dialog begins where something is to be done, not at the cross: at its first field,
// at Cancel where the button means harm, or else at its own button.
function begin() {
  if (dialog.querySelector('[autofocus], [data-focus]')) return;
  const field = 'input:not([type=hidden], :disabled), select:not(:disabled), textarea:not(:disabled)';
  const first = [...dialog.querySelectorAll(field)].find((e) => e.checkVisibility());
  const own = dialog.querySelector('.actions .danger') ? '.actions [data-close]' : '.actions .primary, .actions .button, .actions button';
  (first ?? dialog.querySelector(own))?.focus();
}

const close = () => {
  const hold = held(dialog);
  if (hold) refuse(hold); else dialog.close();
};

// Browsers close a dialog at the second Escape whatever is said to `cancel`.
document.addEventListener('keydown', (event) => {
  if (event.key !== 'Escape' || !dialog.open || !held(dialog)) return;
  event.preventDefault();
  close();
});
dialog.addEventListener('cancel', (event) => {
  if (!held(dialog)) return;
  event.preventDefault();
  close();
});
// A click beside the dialog closes it, unless what was typed would be lost.
const beside = ({ target, clientX: x, clientY: y }) => {
  const { left, right, top, bottom } = dialog.getBoundingClientRect();
  return target === dialog && (x < left || x > right || y < top || y > bottom);
};
const typed = () => dialog.querySelector('.faults') || [...dialog.querySelectorAll('input:not([type=hidden]), textarea')]
  .some((field) => /checkbox|radio/.test(field.type) ? field.checked !== field.defaultChecked : field.value !== field.defaultValue);
dialog.addEventListener('click', (event) => {
  if (event.target.closest('a[data-close]')) event.preventDefault(); // it leads on without script only
  if (event.target.closest('[data-close]') || (beside(event) && (held(dialog) || !typed()))) close();
});
// Nothing of it stays in the document.
function leave() {
  dialog.replaceChildren();
  if (document.activeElement !== document.body) return;
  document.getElementById(opener)?.focus();
  if (document.activeElement === document.body) document.querySelector('#main [data-land]')?.focus();
}
dialog.addEventListener('close', () => {
  if (dialog.open) return; // the answer that closed it opened it again
  if (!held(dialog)) return leave();
  dialog.showModal(); // a way to close it that asks nobody, such as a phone's
  close();
});
// What was asked is done; `close` says so where the answer is what comes next.
for (const over of ['keyreeve:done', 'keyreeve:close']) document.addEventListener(over, () => {
  if (held(dialog)) return;
  dialog.replaceChildren(); // before the answer is swapped in, which would open it again
  if (dialog.open) dialog.close();
});
