import js from "@eslint/js";

// Names that are not there are found by tsc.
export default [{ files: ["src/rungwise/play/*.js"], rules: { ...js.configs.recommended.rules, "no-undef": "off", "no-control-regex": "off", eqeqeq: "error", "prefer-const": "error", "no-var": "error" } }];
