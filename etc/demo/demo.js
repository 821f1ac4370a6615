/* The event counter of the demo page. */
const count = document.getElementById('count');
const state = document.getElementById('stream');
const source = new EventSource('events.php');

state.textContent = 'Connecting …';
source.onmessage = (event) => {
    const { count: n, time } = JSON.parse(event.data);
    count.textContent = n;
    state.textContent = `Server time ${time}`;
    state.classList.add('alive');
};
source.onerror = () => {
    state.classList.remove('alive');
    state.textContent = source.readyState === EventSource.CLOSED ? 'Closed.' : 'Reconnecting …';
};
addEventListener('pagehide', () => source.close());
