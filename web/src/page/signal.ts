/** A value that others follow. */
export class Signal<T> {
  #value: T;
  readonly #listeners: ((value: T) => void)[] = [];

  constructor(value: T) {
    this.#value = value;
  }

  get value(): T {
    return this.#value;
  }

  set value(value: T) {
    this.#value = value;
    for (const listener of this.#listeners) listener(value);
  }

  /** Calls `listener` with the present value, and after every change. */
  follow(listener: (value: T) => void): void {
    this.#listeners.push(listener);
    listener(this.#value);
  }
}
