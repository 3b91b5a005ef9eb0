/** What this browser says of its GPU. */

/** The adapter, or why there is none. */
export type AdapterReport =
  | {
      available: true;
      /** What it is, as far as the browser tells. */
      name: string;
      /** Optional features that kernels can use, and whether they are there. */
      features: { name: string; available: boolean }[];
      /** Limits that decide which models fit. */
      limits: { name: string; value: number; inBytes: boolean }[];
    }
  | { available: false; reason: string };

/** Features that kernels can use; none of them is needed. */
const FEATURES = ["shader-f16", "subgroups", "timestamp-query"];
/** Limits that decide which models fit. */
const LIMITS = {
  "largest buffer": "maxBufferSize",
  "largest binding": "maxStorageBufferBindingSize",
  "workgroup memory": "maxComputeWorkgroupStorageSize",
  "workgroup threads": "maxComputeInvocationsPerWorkgroup",
  "storage buffers a stage": "maxStorageBuffersPerShaderStage",
} as const;

/** Asks the browser for its adapter. */
export async function reportAdapter(): Promise<AdapterReport> {
  const gpu = (navigator as Navigator & { gpu?: GPU }).gpu;
  if (!gpu) {
    const reason = self.isSecureContext
      ? "this browser has no WebGPU"
      : "WebGPU is there for https and localhost only";
    return { available: false, reason };
  }
  try {
    const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
    if (!adapter) return { available: false, reason: "the browser found no GPU that it trusts" };
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

/** Vendor, architecture and description, as far as the browser tells them. */
export function nameOf({ vendor, architecture, device, description }: GPUAdapterInfo): string {
  const parts = [vendor, architecture, device, description].filter((part) => part !== "");
  return [...new Set(parts)].join(" ") || "unnamed adapter";
}
