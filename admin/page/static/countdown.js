// Keeps `<time data-countdown>` up to date: the time left until it, as 12:34.
const two = (n) => String(n).padStart(2, '0');

function left(ms) {
  const s = Math.max(0, Math.ceil(ms / 1000));
  const hours = Math.floor(s / 3600);
  const rest = two(Math.floor(s / 60) % 60) + ':' + two(s % 60);
  return hours ? hours + ':' + rest : rest;
}

function tick() {
  for (const time of document.querySelectorAll('time[data-countdown]')) {
    const text = 'in ' + left(Date.parse(time.dateTime) - Date.now());
    if (time.textContent !== text) time.textContent = text;
  }
}

tick();
setInterval(tick, 1000);
document.addEventListener('htmx:afterSettle', tick);
