import tseslint from "typescript-eslint";

export default tseslint.config(
  { ignores: ["dist", "node_modules", "src/api/types.ts"] },
  ...tseslint.configs.recommended,
  {
    rules: {
      "@typescript-eslint/no-explicit-any": "error",
      "@typescript-eslint/consistent-type-imports": "error",
      "max-lines": ["error", { max: 200, skipBlankLines: true, skipComments: true }],
      eqeqeq: ["error", "smart"],
      "no-console": "error",
    },
  },
  { files: ["src/**/*.test.ts", "src/**/*.test.tsx"], rules: { "max-lines": "off" } },
);
