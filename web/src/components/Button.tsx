import type { ComponentChildren } from "preact";

interface ButtonProps {
  children: ComponentChildren;
  onPress: () => void;
  primary?: boolean;
  small?: boolean;
  disabled?: boolean;
  title?: string;
}

export function Button({ children, onPress, primary, small, disabled, title }: ButtonProps) {
  const names = ["button", primary && "primary", small && "small"].filter(Boolean).join(" ");
  return <button type="button" class={names} disabled={disabled} title={title} onClick={onPress}>{children}</button>;
}
