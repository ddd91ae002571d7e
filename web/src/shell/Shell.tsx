import { useEffect } from "preact/hooks";
import { Empty, ErrorBox } from "../components";
import { AblationPage } from "../pages/ablation";
import { AttentionPage } from "../pages/attention";
import { AttributionPage } from "../pages/attribution";
import { CircuitPage } from "../pages/circuit";
import { LensPage } from "../pages/lens";
import { FeaturesPage } from "../pages/features";
import { NeuronsPage } from "../pages/neurons";
import { PatchingPage } from "../pages/patching";
import { SteeringPage } from "../pages/steering";
import { SurgeryPage } from "../pages/surgery";
import { model, modelError, openModels, workspace } from "../state";
import type { View } from "../state";
import { ComponentCard } from "./ComponentCard";
import { notice } from "./notice";
import { Rail, VIEW_NAMES } from "./Rail";
import { TopBar } from "./TopBar";

const PAGES: Readonly<Record<View, () => preact.JSX.Element>> = {
  surgery: SurgeryPage, ablation: AblationPage, patching: PatchingPage, lens: LensPage, attention: AttentionPage, attribution: AttributionPage, circuit: CircuitPage, neurons: NeuronsPage, features: FeaturesPage, steering: SteeringPage,
};

/** The frame around every view. */
export function Shell() {
  const view = workspace.view.value;
  useEffect(() => {
    document.title = `${VIEW_NAMES[view]} · Microtome`;
  }, [view]);
  return (
    <div class="shell">
      <TopBar />
      <Rail />
      <main class="view" aria-label={VIEW_NAMES[view]}>
        <h1 class="hidden-text">{VIEW_NAMES[view]}</h1>
        <Content view={view} />
      </main>
      <ComponentCard />
      <div class="toast" role="status">{notice.value}</div>
    </div>
  );
}

function Content({ view }: { view: View }) {
  if (modelError.value) return <ErrorBox error={modelError.value} onRetry={() => void openModels()} />;
  if (!model.value) return <Empty title="Loading the model …" fill />;
  const Page = PAGES[view];
  return <Page />;
}
