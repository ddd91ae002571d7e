// Prompts the model of the tests has something to say about, as the address takes them.

export const FACT = { prompt: "Paris is the capital of", corrupt: "Rome is the capital of", target: " France", foil: " Italy" } as const;

export const NAMES = {
  prompt: "When Mary and John went to the store, John gave a drink to",
  corrupt: "When Mary and John went to the store, Mary gave a drink to", target: " Mary", foil: " John",
} as const;

export const SAID_TWICE = { prompt: "The cat sat on the mat. The dog sat on the rug. The cat sat", target: " on", foil: "" } as const;

/** Enough tokens for a sweep to take a while. */
export const LONG = "The cat sat on the mat. The dog sat on the rug. ".repeat(8).trim();
