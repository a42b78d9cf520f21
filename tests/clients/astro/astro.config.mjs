import run402 from "@run402/astro";

export default run402();
