import { Segmented } from "../../components";
import { change, workspace } from "../../state";

/** Shares of a logit, or estimates of patches. */
export function AttributionChoice() {
  return (
    <Segmented
      label="Attribution" value={workspace.attribution.value} onChange={(attribution) => change({ attribution, part: "" })}
      options={[
        { value: "direct", text: "Direct", title: "Direct logit attribution: what each part writes towards the answer; exact, and adds up" },
        { value: "estimate", text: "Patches, estimated", title: "Attribution patching: every activation patch at once, to first order" },
      ]}
    />
  );
}
