// The socket to the server: requests with answers, and what happens meanwhile. It reconnects by itself.

/** Waits between attempts to connect: short at first, because the usual cause is a restarted program. */
const RETRY_MS = [200, 400, 800, 1600, 3000];

export class Link {
  #socket;
  #waiting = new Map();
  #number = 0;
  #attempt = 0;
  #closed = false;
  #timer;

  /** `seen` gets every event; `state` gets "open" or "lost". */
  constructor(person, seen, state) {
    this.person = person;
    this.seen = seen;
    this.state = state;
    this.#connect();
  }

  /** Sends a request and waits for its answer; rejects with what the server says is wrong. */
  request(body) {
    if (this.#socket.readyState !== WebSocket.OPEN) return Promise.reject(new Error("Not connected. Is the playground still running?"));
    const id = ++this.#number;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#socket.send(JSON.stringify({ id, ...body }));
    });
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#socket.close();
  }

  #connect() {
    const address = new URL("/ws", location.href);
    address.protocol = address.protocol.replace("http", "ws");
    if (this.person) address.searchParams.set("person", this.person);
    this.#socket = new WebSocket(address);
    this.#socket.onmessage = ({ data }) => this.#receive(JSON.parse(data));
    this.#socket.onclose = () => this.#lost();
  }

  #receive(frame) {
    if (this.#closed) return;
    if (frame.t) {
      if (frame.t === "VIEW") {
        this.#attempt = 0;
        this.state("open");
      }
      this.seen(frame.t, frame.d);
      return;
    }
    const { resolve, reject } = this.#waiting.get(frame.id) ?? {};
    this.#waiting.delete(frame.id);
    if (frame.error !== undefined) reject?.(new Error(frame.error));
    else resolve?.(frame.ok);
  }

  #lost() {
    for (const { reject } of this.#waiting.values()) reject(new Error("The connection was lost; please look whether it arrived."));
    this.#waiting.clear();
    if (this.#closed) return;
    this.state("lost");
    this.#timer = setTimeout(() => this.#connect(), RETRY_MS[Math.min(this.#attempt++, RETRY_MS.length - 1)]);
  }
}
