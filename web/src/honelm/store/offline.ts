/** The page without a network: its own files are kept by a service worker (`src/offline/service.ts`). */

/** The state of the page's own files. */
export interface Offline {
  /** True if the page can be opened without a network. */
  ready: boolean;
  /** A newer version of the page is there. `apply` reloads the page with it. */
  update: { apply: () => void } | null;
}

export const offline = {
  /**
   * Keeps the page's own files for use without a network, and calls `onState` when that is done and when there is a newer version.
   * A browser without service workers, and a page that is being developed, keep nothing.
   */
  async register(onState: (state: Offline) => void = () => {}): Promise<void> {
    const workers = navigator.serviceWorker;
    if (!import.meta.env.PROD || !workers) return;
    let registration: ServiceWorkerRegistration;
    try {
      registration = await workers.register(new URL("service.js", document.baseURI), { updateViaCache: "none" });
    } catch {
      // The browser or its user does not allow it; the page works with a network.
      return;
    }
    const apply = (): void => {
      workers.addEventListener("controllerchange", () => location.reload(), { once: true });
      registration.waiting?.postMessage("take-over");
    };
    const tell = (): void => {
      // Without an active worker, the waiting one is the first and becomes active by itself.
      const update = registration.waiting && registration.active ? { apply } : null;
      onState({ ready: registration.active !== null, update });
    };
    const follow = (worker: ServiceWorker | null): void => worker?.addEventListener("statechange", tell);
    follow(registration.installing);
    registration.addEventListener("updatefound", () => follow(registration.installing));
    tell();
  },
};
