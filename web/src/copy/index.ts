export { commandFor } from "./command";
export { curlFor } from "./curl";
export { readableJson } from "./json";
export { rustFor } from "./rust";
