export { buildAstroReleaseSlice } from "@run402/astro/release-slice";
