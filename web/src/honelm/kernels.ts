/**
 * Kernels that a GPU builds before they are needed, beside each other. wgpu creates each one at once, so that a device builds one after
 * the other and nothing else meanwhile.
 */

/** The beginning of the label of a kernel that is requested for later. */
const LATER = "later: ";

/** The texts of shader modules. */
const texts = new WeakMap<GPUShaderModule, string>();
/** The requested kernels that are built and not needed yet, by their layout and text. */
const built = new WeakMap<GPUPipelineLayout, Map<string, GPUComputePipeline>>();
/** The kernels that are being built. */
const building = new Set<Promise<unknown>>();

/** Makes devices build requested kernels in the background, and return them once they are needed. */
export function buildAhead(devices: GPUDevice): void {
  const { createShaderModule, createComputePipeline } = devices;
  devices.createShaderModule = function (this: GPUDevice, descriptor: GPUShaderModuleDescriptor) {
    const module = createShaderModule.call(this, descriptor);
    texts.set(module, descriptor.code);
    return module;
  };
  devices.createComputePipeline = function (this: GPUDevice, descriptor: GPUComputePipelineDescriptor) {
    const { layout, compute } = descriptor;
    const text = texts.get(compute.module);
    if (text === undefined || layout === null || typeof layout !== "object") return createComputePipeline.call(this, descriptor);
    const known = built.get(layout) ?? new Map<string, GPUComputePipeline>();
    built.set(layout, known);
    if (!descriptor.label?.startsWith(LATER)) {
      const kernel = known.get(text);
      // The wasm module keeps it from now on.
      known.delete(text);
      return kernel ?? createComputePipeline.call(this, descriptor);
    }
    // A kernel that fails is created again when it is needed, and the device then tells why.
    const request = this.createComputePipelineAsync(descriptor).then((kernel) => known.set(text, kernel), () => {});
    building.add(request);
    void request.finally(() => building.delete(request));
    // The wasm module drops the result of a request.
    return request as unknown as GPUComputePipeline;
  };
}

/** Waits for the requested kernels. */
export async function kernelsBuilt(): Promise<void> {
  await Promise.all(building);
}
