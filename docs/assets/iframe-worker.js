// Browsers do not allow workers on pages opened from disk. The search needs one, so a hidden frame replaces it.
if (location.protocol === "file:") {
  const load = (page, url) =>
    new Promise((loaded, failed) => {
      const script = page.createElement("script")
      Object.assign(script, { src: new URL(url, document.baseURI), onload: loaded, onerror: failed })
      page.head.append(script)
    })

  window.Worker = window.IFrameWorker = class extends EventTarget {
    constructor(url) {
      super()
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      this.frame.srcdoc = "<!doctype html><title>search</title>"
      this.inside = new Promise((ready, failed) => {
        this.frame.onload = () => {
          const inside = this.frame.contentWindow
          inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }))
          inside.importScripts = async (...urls) => {
            for (const each of urls) await load(inside.document, each)
          }
          load(inside.document, url).then(() => ready(inside), failed)
        }
      })
      document.body.append(this.frame)
    }

    async postMessage(data) {
      const inside = await this.inside
      inside.dispatchEvent(new MessageEvent("message", { data }))
    }

    terminate() {
      this.frame.remove()
    }
  }
}
