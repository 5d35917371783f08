export default { printWidth: 130 };
