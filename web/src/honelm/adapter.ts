/** The browser's information about its GPU. */

/** The adapter, or the reason why there is none. */
export type AdapterReport =
  | {
      available: true;
      /** The name, as far as the browser reports it. */
      name: string;
      /** The optional features that kernels can use, with their availability. */
      features: { name: string; available: boolean }[];
      /** The limits that determine which models fit. */
      limits: { name: string; value: number; inBytes: boolean }[];
    }
  | { available: false; reason: string };

/** The features that kernels can use; all are optional. */
const FEATURES = ["shader-f16", "subgroups", "timestamp-query"];
/** The limits that determine which models fit. */
const LIMITS = {
  "largest buffer": "maxBufferSize",
  "largest binding": "maxStorageBufferBindingSize",
  "workgroup memory": "maxComputeWorkgroupStorageSize",
  "workgroup threads": "maxComputeInvocationsPerWorkgroup",
  "storage buffers per stage": "maxStorageBuffersPerShaderStage",
} as const;

/** Asks the browser for its adapter. */
export async function reportAdapter(): Promise<AdapterReport> {
  const gpu = (navigator as Navigator & { gpu?: GPU }).gpu;
  if (!gpu) {
    const reason = self.isSecureContext
      ? "this browser has no WebGPU"
      : "WebGPU needs https or localhost";
    return { available: false, reason };
  }
  try {
    const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
    if (!adapter) return { available: false, reason: "the browser found no usable GPU" };
    return {
      available: true,
      name: nameOf(adapter.info),
      features: FEATURES.map((name) => ({ name, available: adapter.features.has(name) })),
      limits: Object.entries(LIMITS).map(([name, limit]) => ({
        name, value: adapter.limits[limit], inBytes: /Size$/.test(limit),
      })),
    };
  } catch (error) {
    return { available: false, reason: error instanceof Error ? error.message : String(error) };
  }
}

/**
 * Returns vendor, architecture and description, as far as the browser reports them.
 * @internal
 */
export function nameOf({ vendor, architecture, device, description }: GPUAdapterInfo): string {
  const parts = [vendor, architecture, device, description].filter((part) => part !== "");
  return [...new Set(parts)].join(" ") || "unnamed adapter";
}
