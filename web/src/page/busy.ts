/** A flag that is set while the model works, and its listeners. */
export class Busy {
  value = false;
  readonly #listeners: (() => void)[] = [];

  set(value: boolean): void {
    this.value = value;
    for (const listener of this.#listeners) listener();
  }

  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }
}
