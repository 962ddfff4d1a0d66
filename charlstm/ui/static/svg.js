// Elements of pictures, for scripts that are fetched when they are needed.
const NAMESPACE = 'http://www.w3.org/2000/svg';
export const svg = (tag, attributes = {}, ...children) => {
  const element = document.createElementNS(NAMESPACE, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
};
