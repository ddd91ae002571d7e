// The flags of `microtome sae`: what is asked of an autoencoder's features.

import type { ErrorTerm, FeatureAttribution, FeatureChange, FeatureProfile, FeatureReading, FeatureSweep, Method, Positions } from "../api/schema";
import { given, listed, when } from "./flag";
import type { Flag } from "./flag";

/** A question about features of a prompt by itself; undefined where it is about something else, null where flags cannot say it. */
export function featureFlags(method: Exclude<Method, "measure">): [string, Flag[]] | null | undefined {
  if ("features" in method) return ["sae features", readingFlags(method.features)];
  if ("feature_sweep" in method) return named("sae sweep", sweepFlags(method.feature_sweep));
  if ("feature_attribution" in method) return named("sae attribute", attributionFlags(method.feature_attribution));
  return undefined;
}

/** One feature by the weights. */
export function profileFlags({ feature, sae, tokens, nearest }: FeatureProfile): [string, Flag[]] {
  return [`sae feature ${feature}`, [["--sae", sae], ...given("--tokens", tokens), ...given("--nearest", nearest)]];
}

function named(subcommand: string, flags: Flag[] | null): [string, Flag[]] | null {
  return flags && [subcommand, flags];
}

function readingFlags({ sae, top, at, watch = [], losses }: FeatureReading): Flag[] {
  return [["--sae", sae], ...given("--top", top), ...placeFlags(at), ...listed("--watch", watch), ...when(losses === "left_out", "--no-losses")];
}

function sweepFlags({ sae, features = "active", change, by, at, error, most }: FeatureSweep): Flag[] | null {
  const how = changeFlags(change);
  if (!how) return null;
  const which: Flag[] = features === "active" ? []
    : "each" in features ? listed("--features", features.each)
      : [...listed("--features", features.together), ["--together"]];
  return [["--sae", sae], ...which, ...how, ...when(by === "feature_position", "--by-position"), ...placeFlags(at), ...errorFlags(error), ...given("--most", most)];
}

function attributionFlags({ sae, estimate, change, by, at, error, top, check }: FeatureAttribution): Flag[] | null {
  const how = changeFlags(change);
  return how && [
    ["--sae", sae], ...when(estimate === "direct", "--direct"), ...how, ...when(by === "feature_position", "--by-position"), ...placeFlags(at), ...errorFlags(error),
    ...given("--top", top), ...given("--check", check == null || check === "all" ? check : check.top),
  ];
}

/** A change of each feature; null for a patch, which takes the other prompt of a pair. */
function changeFlags(change: FeatureChange = "ablate"): Flag[] | null {
  if (change === "ablate") return [];
  if ("set" in change) return [["--change", `set=${change.set}`]];
  if ("scale" in change) return [["--change", `scale=${change.scale}`]];
  return "add" in change ? [["--change", `add=${change.add}`]] : null;
}

/** Positions; all but BOS where nothing is said, so `all` has to be said. */
function placeFlags(at: Positions | null | undefined): Flag[] {
  if (at == null) return [];
  if (typeof at === "string") return [["--at", at]];
  return [["--at", "from" in at ? `${at.from}..` : at.at.join(",")]];
}

const errorFlags = (error: ErrorTerm = "keep"): Flag[] => when(error === "drop", "--drop-error");
