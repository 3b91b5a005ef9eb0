//! What the browser gives: clocks, a turn of its event loop, the size of the heap.

use js_sys::{Date, Function, Promise, Reflect, WebAssembly};
use serde::Deserialize;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = performance, js_name = now)]
    fn performance_now() -> f64;

    type MessageChannel;
    #[wasm_bindgen(constructor)]
    fn new() -> MessageChannel;
    #[wasm_bindgen(method, getter)]
    fn port1(this: &MessageChannel) -> MessagePort;
    #[wasm_bindgen(method, getter)]
    fn port2(this: &MessageChannel) -> MessagePort;

    type MessagePort;
    #[wasm_bindgen(method, setter)]
    fn set_onmessage(this: &MessagePort, handler: &Function);
    #[wasm_bindgen(method, js_name = postMessage)]
    fn post_message(this: &MessagePort, message: &JsValue);
}

#[wasm_bindgen]
extern "C" {
    /// The worker's global object.
    type Global;
    /// The function by which a worker hears of panics, where it defines one.
    #[wasm_bindgen(method, catch, js_name = honelmPanicked)]
    fn panicked(this: &Global, message: &str) -> Result<(), JsValue>;
}

/// Tells the worker's `honelmPanicked` of what was a bug of ours; the wasm instance cannot be used after it.
pub fn tell_of_panics() {
    std::panic::set_hook(Box::new(|info| {
        // A worker without the function sees the trap alone.
        let _ = js_sys::global().unchecked_into::<Global>().panicked(&info.to_string());
    }));
}

/// What the worker's `honelmAdapter` says of the GPU that was opened last, as JSON.
#[derive(Debug, Deserialize)]
pub struct BrowserAdapter {
    pub name: String,
    /// Whether it stands in for a GPU.
    pub is_fallback: bool,
    /// Least and most threads of a subgroup; none where kernels have no subgroups.
    pub subgroups: Option<(u32, u32)>,
}

/// What is known of the GPU that was opened last beside what wgpu tells; nothing outside of the package's own worker.
pub fn browser_adapter() -> Option<BrowserAdapter> {
    let told = Reflect::get(&js_sys::global(), &"honelmAdapter".into()).ok()?.as_string()?;
    serde_json::from_str(&told).ok()
}

/// Seconds since the worker began.
pub fn seconds() -> f64 {
    performance_now() / 1000.0
}

/// Seconds since 1970, and how far local time is ahead of UTC in seconds.
pub fn wall_clock() -> (i64, i32) {
    let now = Date::new_0();
    ((now.get_time() / 1000.0) as i64, (now.get_timezone_offset() * -60.0) as i32)
}

/// Bytes of the wasm heap: its size so far, which never shrinks.
pub fn heap_bytes() -> f64 {
    let memory: WebAssembly::Memory = wasm_bindgen::memory().unchecked_into();
    let bytes = Reflect::get(&memory.buffer(), &"byteLength".into());
    bytes.ok().and_then(|bytes| bytes.as_f64()).unwrap_or(0.0)
}

/// A way into the event loop that timers' minimum delay (4 ms) does not hold up.
pub struct EventLoop(MessageChannel);

impl EventLoop {
    /// A channel of its own.
    pub fn new() -> Self {
        Self(MessageChannel::new())
    }

    /// Lets everything that waits in the event loop happen.
    pub async fn turn(&self) {
        let (here, there) = (self.0.port1(), self.0.port2());
        let promise = Promise::new(&mut |resolve, _| {
            here.set_onmessage(&resolve);
            there.post_message(&JsValue::UNDEFINED);
        });
        // A promise that nobody rejects.
        let _ = JsFuture::from(promise).await;
    }
}
