// connection.js: the line to the runtime. Server-Sent Events, reconnected by us (a browser gives up
// for good after an HTTP error), with a watchdog for a line that is open but silent.

const SILENT_MS = 5000;
const RETRY_MS = [500, 1000, 2000, 3000];

/**
 * Calls onData(json) for each snapshot and onState("live" | "lost", sinceMs) when the line comes
 * or goes; sinceMs is when we last heard from the runtime, by this browser's clock.
 */
export function connect(onData, onState) {
  let source = null;
  let watchdog = 0;
  let tries = 0;
  let live = null;
  let heard = Date.now();

  function arm() {
    clearTimeout(watchdog);
    watchdog = setTimeout(() => lost(), SILENT_MS);
  }

  function open() {
    source = new EventSource("feed");
    arm();
    source.onmessage = (e) => {
      heard = Date.now();
      tries = 0;
      arm();
      if (live !== true) onState("live", heard);
      live = true;
      onData(e.data);
    };
    source.onerror = () => lost();
  }

  function lost() {
    clearTimeout(watchdog);
    source.close();
    if (live !== false) onState("lost", heard);
    live = false;
    setTimeout(open, RETRY_MS[Math.min(tries++, RETRY_MS.length - 1)]);
  }

  open();
}
