"use strict";
(function () {
  var root = document.documentElement;
  var options = JSON.parse(document.getElementById("charts").textContent);
  var boxes = Array.prototype.slice.call(document.querySelectorAll("[data-chart]"));
  var button = document.getElementById("theme");
  var system = window.matchMedia("(prefers-color-scheme: dark)");
  var chosen = null;
  var live = [];

  function dark() {
    return chosen === null ? system.matches : chosen === "dark";
  }

  // Options name CSS variables; charts need the colour itself.
  function resolve(value, style) {
    if (typeof value === "string") {
      var match = /^var\((--[a-z]+)\)$/.exec(value);
      return match ? style.getPropertyValue(match[1]).trim() : value;
    }
    if (Array.isArray(value)) {
      return value.map(function (item) { return resolve(item, style); });
    }
    if (value && typeof value === "object") {
      var copy = {};
      Object.keys(value).forEach(function (key) { copy[key] = resolve(value[key], style); });
      return copy;
    }
    return value;
  }

  function theme(style) {
    var ink = style.getPropertyValue("--ink").trim();
    var muted = style.getPropertyValue("--muted").trim();
    var rule = style.getPropertyValue("--rule").trim();
    var axis = {
      axisLine: { lineStyle: { color: rule } },
      axisTick: { lineStyle: { color: rule } },
      axisLabel: { color: muted },
      nameTextStyle: { color: muted },
      splitLine: { lineStyle: { color: rule } }
    };
    return {
      textStyle: { color: ink, fontFamily: style.getPropertyValue("--font").trim() },
      categoryAxis: axis,
      valueAxis: axis,
      legend: { textStyle: { color: ink }, inactiveColor: rule },
      tooltip: {
        backgroundColor: style.getPropertyValue("--card").trim(),
        borderColor: rule,
        textStyle: { color: ink },
        axisPointer: { lineStyle: { color: muted } }
      }
    };
  }

  function draw() {
    live.forEach(function (chart) { chart.dispose(); });
    var style = getComputedStyle(root);
    live = boxes.map(function (box) {
      var option = resolve(options[box.getAttribute("data-chart")], style);
      var unit = option.tooltip && option.tooltip.unit;
      if (unit) {
        option.tooltip.valueFormatter = function (value) {
          var shown = Array.isArray(value) ? value[value.length - 1] : value;
          return typeof shown === "number"
            ? shown.toLocaleString("en-US", { maximumFractionDigits: 2 }) + " " + unit
            : "not available";
        };
      }
      if (option.tooltip) { option.tooltip.confine = true; }
      var chart = echarts.init(box, theme(style), { renderer: "svg" });
      chart.setOption(option);
      return chart;
    });
  }

  function apply() {
    root.setAttribute("data-theme", dark() ? "dark" : "light");
    button.textContent = dark() ? "Light" : "Dark";
    draw();
  }

  function sortBy(table, column, header) {
    var up = header.getAttribute("aria-sort") === "descending";
    var numeric = header.classList.contains("n");
    var rows = Array.prototype.slice.call(table.tBodies[0].rows);
    var key = function (row) {
      var cell = row.cells[column];
      return numeric ? parseFloat(cell.getAttribute("data-v")) : cell.textContent;
    };
    rows.sort(function (a, b) {
      var x = key(a), y = key(b);
      var order = numeric ? (x === y ? 0 : x < y ? -1 : 1) : x.localeCompare(y, "en");
      return up ? order : -order;
    });
    Array.prototype.forEach.call(table.tHead.rows[0].cells, function (cell) {
      cell.removeAttribute("aria-sort");
    });
    header.setAttribute("aria-sort", up ? "ascending" : "descending");
    rows.forEach(function (row) { table.tBodies[0].appendChild(row); });
  }

  Array.prototype.forEach.call(document.querySelectorAll("table.sortable"), function (table) {
    Array.prototype.forEach.call(table.tHead.rows[0].cells, function (header, column) {
      header.addEventListener("click", function () { sortBy(table, column, header); });
    });
  });

  button.hidden = false;
  button.addEventListener("click", function () {
    chosen = dark() ? "light" : "dark";
    apply();
  });
  system.addEventListener("change", apply);

  var waiting = 0;
  window.addEventListener("resize", function () {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(function () {
      live.forEach(function (chart) { chart.resize(); });
    });
  });

  // Paper is white and narrower than a screen.
  var before = null;
  window.addEventListener("beforeprint", function () {
    before = chosen;
    chosen = "light";
    root.classList.add("print");
    apply();
  });
  window.addEventListener("afterprint", function () {
    chosen = before;
    root.classList.remove("print");
    apply();
  });

  apply();
})();
