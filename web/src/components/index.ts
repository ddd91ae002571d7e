// What views are drawn with. Names of props are kept stable.
//
//   Panel      title, note?, aside?, fill?, scroll?, label?, children      a framed part of a view
//   Segmented  label, options [{value, text, title?, disabled?}], value, onChange, showLabel?
//   Heatmap    rows, columns {name, labels, tokens?, marks?}, values, scale, format, describe, label,
//              fit?, square?, texts?, chosen?, struck?, focus?, dim?, tip?, onPick?(cells, pick), single?,
//              walkPicks?, onHover?, maxCell?, minCell?, minRow?, topDown?; rows[0] is drawn at the bottom
//              click: one, drag: a block, shift-click: its row, alt-click: its column, ctrl: turns over; labels too
//   Legend     scale, line, low?, high?                       scale, unit and baseline below a heatmap
//   TokenText  text, special?, title?, tone?, plain?          one token as a chip
//   TokenButton as TokenText, with chosen?, onPress
//   TokenHeat  tokens, values, scale, format, label, chosen?, onPick?   a text coloured token by token
//   HoverCard  at {x, y}, children                            a card beside the pointer
//   TopList    entries [{key, name, value, text, pressed?, title?}], max?, label, onPress?   signed bars
//   BarList    entries [{key, name, value, text, tone?}], max?, label                probabilities
//   LinePlot   labels, series [{name, values, colour, dash?}], format, label, fill?, height?, range?, onPick?, onHover?
//   Working    phase, progress?                               the thin line on top of a panel
//   Progress   phase, progress?, onStop                       how far, with a Stop button
//              howFar(progress, unit) in words
//   ErrorBox   error, onRetry?                                detail and hint of an ApiError
//   Empty      title, children?, fill?                        what to do next
//   Menu       text, label?, items [{key, text, note?, disabled?, onPress?, href?, download?}], align?
//   Button     children, onPress, primary?, small?, disabled?, title?
//   Result     of (a Resource), children(data)                error, empty and waiting states in one
//   scales:    diverging(max), sequential(max, min?), symmetricMax(values), largest(values)
//   numbers:   signed(value), plain(value), percent(prob), duration(secs), exact(value), signedExact(value)

export { BarList } from "./BarList";
export type { BarEntry } from "./BarList";
export { Button } from "./Button";
export { Empty } from "./Empty";
export { ErrorBox } from "./ErrorBox";
export { Heatmap } from "./Heatmap";
export type { CellAnchor, HeatmapAxis, HeatmapProps } from "./Heatmap";
export { HoverCard } from "./HoverCard";
export { Legend } from "./Legend";
export { LinePlot } from "./LinePlot";
export type { LineSeries } from "./LinePlot";
export { Menu } from "./Menu";
export type { MenuItem } from "./Menu";
export { duration, exact, percent, plain, signed, signedExact } from "./number";
export { Panel } from "./Panel";
export { Progress, Working, howFar } from "./Progress";
export { Result } from "./Result";
export { colourOf, css, diverging, inkOn, largest, ramp, sequential, symmetricMax } from "./scale";
export type { Scale } from "./scale";
export { Segmented } from "./Segmented";
export type { Option } from "./Segmented";
export { TokenHeat } from "./TokenHeat";
export { TokenButton, TokenText, readable } from "./TokenText";
export { TopList } from "./TopList";
export type { TopEntry } from "./TopList";
