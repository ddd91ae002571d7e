import { render } from "preact";
import { followTheme } from "../state/theme";
import "../styles/tokens.css";
import "../styles/base.css";
import "../styles/components.css";
import "../styles/shell.css";
import { DocsPage } from "./DocsPage";
import "./docs.css";

followTheme();
const page = document.getElementById("page");
if (page) render(<DocsPage />, page);
