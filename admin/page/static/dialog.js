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
  }
});

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
dialog.addEventListener('click', (event) => {
  if (event.target === dialog || event.target.closest('[data-close]')) close();
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
document.addEventListener('keyreeve:done', () => {
  if (held(dialog)) return;
  dialog.replaceChildren(); // before the answer is swapped in, which would open it again
  if (dialog.open) dialog.close();
});
