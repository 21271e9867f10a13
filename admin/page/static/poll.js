// A poll brings what changed, each thing for its own place. What is not shown here, a
// column left out or a row that came since, has none.
document.addEventListener('htmx:beforeSwap', ({ detail }) => {
  if (detail.target.getAttribute('hx-swap') !== 'none') return;
  const parts = document.createElement('template');
  parts.innerHTML = detail.serverResponse;
  for (const part of parts.content.querySelectorAll('[hx-swap-oob]')) {
    if (!document.getElementById(part.id)) part.remove();
  }
  detail.serverResponse = parts.innerHTML;
});
