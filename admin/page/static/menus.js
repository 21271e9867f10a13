// Menus. In a table they stand beside their button, over the table's edge, which would
// cut them off. What is chosen closes its menu and hands the focus to the menu's button,
// so that it is there again once a dialog closes.
const kind = ':is(.row-menu, .table-frame .menu)[open]';

const place = (menu) => {
  const body = menu.querySelector('.menu-body');
  const button = menu.querySelector('summary').getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = body;
  const below = button.bottom + 4;
  const top = below + height > innerHeight && button.top - 4 - height > 0 ? button.top - 4 - height : below;
  body.style.top = top + 'px';
  body.style.left = Math.max(8, Math.min(button.right - width, innerWidth - width - 8)) + 'px';
};

const opened = () => document.querySelectorAll(kind);
const placeAll = () => opened().forEach(place);

document.addEventListener('toggle', ({ target }) => { if (target.matches(kind)) place(target); }, true);
addEventListener('scroll', placeAll, { capture: true, passive: true });
addEventListener('resize', placeAll);

document.addEventListener('click', ({ target }) => {
  const menu = target.closest('.menu-body a')?.closest('details.menu');
  if (!menu) return;
  menu.open = false;
  menu.querySelector('summary').focus();
});

// Any menu closes when something else is clicked, and at Escape.
document.addEventListener('click', ({ target }) => {
  for (const menu of document.querySelectorAll('details.menu[open]')) {
    if (!menu.contains(target)) menu.open = false;
  }
});

document.addEventListener('keydown', (event) => {
  if (event.key !== 'Escape') return;
  const menu = event.target.closest?.('details.menu[open]');
  if (!menu) return;
  menu.open = false;
  menu.querySelector('summary').focus();
});

document.addEventListener('focusout', ({ target, relatedTarget }) => {
  const menu = target.closest?.(kind);
  if (menu && relatedTarget && !menu.contains(relatedTarget)) menu.open = false;
});

// Arrows go from one entry to the next, and into a menu from its button.
document.addEventListener('keydown', (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const menu = step && event.target.closest?.(kind);
  if (!menu) return;
  event.preventDefault();
  const entries = [...menu.querySelectorAll('.menu-body :is(a, button):not([hidden])')];
  const at = entries.indexOf(document.activeElement);
  entries[at < 0 ? (step > 0 ? 0 : entries.length - 1) : (at + step + entries.length) % entries.length].focus();
});
