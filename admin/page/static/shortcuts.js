// Keys that do something: an element with data-key="n" is clicked by n, and one
// that takes text gets the focus.
const typing = (element) => element.closest('input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]');

document.addEventListener('keydown', (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
  const scope = document.querySelector('dialog[open]') ?? document;
  if (!/^[a-z/?]$/.test(event.key)) return;
  const element = scope.querySelector(`[data-key="${event.key}"]`);
  if (!element) return;
  event.preventDefault();
  if (typing(element)) {
    element.closest('details:not([open])')?.setAttribute('open', '');
    element.focus();
    element.select?.();
  } else {
    element.click();
  }
});
