// How the studio is built, served while it is worked on, and tested. The build is plain files for one
// origin with the API under a strict content security policy: no inline script, no data: fonts, no CDN.
import { defineConfig } from "vitest/config";

// `vite dev` serves the page alone; the API comes from a running kiln-local.
const system = process.env.KILN_URL ?? "http://localhost:8080";

export default defineConfig({
  esbuild: { jsx: "automatic" },
  build: {
    target: "es2022",
    // Assets stay files: an inlined one would need data: in more of the policy than images.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // The notices of what is bundled, which their licences ask for, served beside it.
    license: { fileName: "licenses.txt" },
    rollupOptions: {
      onwarn(warning, warn) {
        // "use client" marks a file for frameworks that render on a server; here all of it is the client.
        if (warning.code !== "MODULE_LEVEL_DIRECTIVE") warn(warning);
      },
    },
  },
  server: {
    proxy: {
      "/api": { target: system, changeOrigin: false },
      "/local": { target: system, changeOrigin: false },
    },
  },
  test: {
    // A test that needs a page asks for jsdom in its first line.
    environment: "node",
    include: ["src/**/*.test.{ts,tsx}"],
    restoreMocks: true,
    unstubGlobals: true,
  },
});
