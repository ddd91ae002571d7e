import { render } from "preact";
import { Shell } from "./shell/Shell";
import { followKeys } from "./shell/keys";
import { followInputs, followModel, followTheme, openModels, openWorkspace } from "./state";
import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/components.css";
import "./styles/inputs.css";
import "./styles/shell.css";
import "./styles/views.css";

openWorkspace();
followTheme();
followModel();
followInputs();
followKeys();
void openModels();

const page = document.getElementById("page");
if (page) render(<Shell />, page);
