// What the theme leaves out for people who use no mouse: tables that scroll can be reached, and parts have names.
document$.subscribe(() => setTimeout(() => {
  const search = document.querySelector(".md-search[role=dialog]");
  if (search) search.setAttribute("aria-label", "Search");
  document.querySelectorAll(".md-typeset__scrollwrap").forEach((table, number) => {
    table.tabIndex = 0;
    table.setAttribute("role", "region");
    table.setAttribute("aria-label", "Table " + (number + 1));
  });
  document.querySelectorAll(".md-code__nav").forEach((nav, number) => {
    nav.setAttribute("aria-label", "Code " + (number + 1));
  });
}));
