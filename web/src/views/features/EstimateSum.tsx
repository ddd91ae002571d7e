import type { ExperimentRecord, Remeasured } from "../../api";
import { signed, signedExact } from "../../components";
import { change } from "../../state";
import { Agreement } from "../estimates/Agreement";
import { axesOf } from "./FeatureLists";

interface EstimateSumProps {
  record: ExperimentRecord;
  measured: Remeasured;
  feature: number | null;
}

/** How far the estimates are to be trusted, and what all of them come to. */
export function EstimateSum({ record, measured, feature }: EstimateSumProps) {
  const report = record.results.feature_attribution;
  const share = (name: string, value: number | null | undefined, title: string) => value != null && (
    <div><dt title={title}>{name}</dt><dd title={signedExact(value)}>{signed(value)}</dd></div>
  );
  return (
    <>
      <Agreement of={measured} axes={axesOf(record.experiment)} keyOf={(label) => label} chosen={String(feature ?? "")} onPick={(feature) => change({ feature })} />
      {report && (
        <dl class="facts" aria-label="Sum of the estimates">
          {share(`All ${report.n_found}`, report.all_features, "Sum of the estimates of all active features")}
          {share("b_dec", report.bias, "What the decoder's bias writes")}
          {share("Unexplained", report.unexplained, "What the features do not explain writes")}
        </dl>
      )}
    </>
  );
}
