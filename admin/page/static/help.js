// The help drawer: beside the page, which stays in use. ? opens and closes it, Escape
// closes it, and the focus goes back to where it was.
const drawer = document.getElementById('help');
let before = null;

function close() {
  if (drawer.hidden) return;
  drawer.hidden = true;
  drawer.replaceChildren();
  document.getElementById('help-open')?.setAttribute('aria-expanded', 'false');
  (before?.isConnected ? before : document.getElementById('help-open'))?.focus();
  before = null;
}

document.addEventListener('click', (event) => {
  const button = event.target.closest('#help-open');
  if (!button) {
    if (event.target.closest('[data-close-help]')) close();
    return;
  }
  if (!drawer.hidden) {
    event.preventDefault();
    event.stopImmediatePropagation(); // it is there: it is not to be loaded again
    close();
    return;
  }
  // By its key, the focus is somewhere else; by a click, on the button.
  before = document.activeElement === document.body ? button : document.activeElement;
}, true);

document.addEventListener('htmx:afterSwap', ({ detail }) => {
  if (detail.target !== drawer) return;
  drawer.hidden = false;
  document.getElementById('help-open').setAttribute('aria-expanded', 'true');
  document.getElementById('drawer-title').focus();
});

document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape' && !event.defaultPrevented && !document.querySelector('dialog[open], details.menu[open]')) close();
});
