// What the browser keeps for the page. Without access to it, values last as long as the page; damaged lists are empty.

class Store {
  constructor(name) {
    this.values = new Map();
    try {
      this.storage = window[name]; // throws if the browser blocks site data
    } catch {
      this.storage = null;
    }
  }

  get(name) {
    return this.storage ? this.storage.getItem(name) : (this.values.get(name) ?? null);
  }

  set(name, value) {
    try {
      if (this.storage) this.storage.setItem(name, value);
      else this.values.set(name, value);
    } catch {
      // The storage is full.
    }
  }

  /** Returns a list of objects. */
  list(name) {
    try {
      const found = JSON.parse(this.get(name));
      return Array.isArray(found) ? found.filter((each) => each instanceof Object) : [];
    } catch {
      return [];
    }
  }
}

export const browserStore = new Store("localStorage"); // shared by all tabs
export const tabStore = new Store("sessionStorage");
