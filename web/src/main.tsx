import "./style.css";

import { render } from "preact";

import { App } from "./App";
import { takeToken } from "./state/token";

takeToken();
render(<App />, document.getElementById("app") ?? document.body);
